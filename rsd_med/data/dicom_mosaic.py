"""Siemens' mosaics: the slices of a volume side by side in one image, and where each lies.

The rule is that of nibabel's documentation ("Siemens mosaic format"): the tiles fill a square of ceil(sqrt(n)) by
ceil(sqrt(n)) row by row; ImagePositionPatient is where the corner of a slice as large as the whole mosaic would lie,
and is moved by half the difference; slices follow one another along the normal that the private header gives.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

CSA_GROUP, PROTOCOL_GROUP = 0x0029, 0x0019
MOSAIC_TAGS = [
    *((CSA_GROUP << 16) | element for block in range(0x10, 0x14) for element in (block, (block << 8) | 0x10)),
    *((PROTOCOL_GROUP << 16) | element for block in range(0x10, 0x14) for element in (block, (block << 8) | 0x0A)),
]
"""The private elements that are read: who reserved a block, the image's private header, the number of slices."""


@dataclass(frozen=True)
class Tile:
    """One slice of a mosaic, or a whole image.

    Attributes
    ----------
    shape
        (y, x).
    corner
        Row and column where it begins in the mosaic; None: it is no mosaic.
    to_corner
        Pixels, down and across, from the position that the file gives to that of its first pixel.
    number
        Of the slice.
    normal
        The direction in which slices follow one another, LPS+; None where unknown.
    """

    shape: tuple[int, int]
    corner: tuple[int, int] | None = None
    to_corner: tuple[float, float] = (0.0, 0.0)
    number: int = 0
    normal: tuple[float, ...] | None = None

    def position(
        self,
        declared: tuple[float, ...] | None,
        orientation: tuple[float, ...] | None,
        spacing: tuple[float, ...] | None,
        thickness: float | None,
    ) -> tuple[float, ...] | None:
        """Return where the first pixel lies, millimetres, LPS+; None where unknown.

        Parameters
        ----------
        declared, orientation, spacing, thickness
            What the file says about the whole image, as in :class:`rsd_med.data.dicom_file.Frame`.
        """
        if self.corner is None or declared is None:
            return declared
        if orientation is None or spacing is None or thickness is None or self.normal is None:
            return None
        across, down = np.reshape(orientation, (2, 3))
        moved = down * spacing[0] * self.to_corner[0] + across * spacing[1] * self.to_corner[1]
        along = np.asarray(self.normal) * thickness * self.number
        return tuple(float(value) for value in np.asarray(declared) + moved + along)


def tiles(header: Any, shape: tuple[int, int]) -> list[Tile]:
    """Return the slices of a mosaic.

    Parameters
    ----------
    header
        The file's, as pydicom read it.
    shape
        Of the mosaic, (y, x).

    Raises
    ------
    ValueError
        If the file does not say how many slices there are, or they do not fill the image; its text begins with a verb.
    """
    count, normal = _private_facts(header)
    side = math.isqrt(count - 1) + 1 if count > 0 else 0
    if not 0 < side <= min(shape) or shape[0] % side or shape[1] % side:
        raise ValueError(
            "is a mosaic, slices side by side in one image, and its private header does not say how to cut it: convert "
            "it where it is whole, e.g. with dcm2niix"
        )
    height, width = shape[0] // side, shape[1] // side
    to_corner = (shape[0] - height) / 2, (shape[1] - width) / 2
    return [
        Tile((height, width), (number // side * height, number % side * width), to_corner, number, normal)
        for number in range(count)
    ]


def _private_facts(header: Any) -> tuple[int, tuple[float, ...] | None]:
    """Return the number of slices, 0 where unknown, and their normal in LPS+, None where it is no unit vector."""
    from nibabel.nicom import csareader

    try:
        csa = csareader.get_csa_header(header)
    except Exception:  # it raises half a dozen sorts: damaged counts as not there
        csa = None
    if csa is None:
        try:
            element = header.private_block(PROTOCOL_GROUP, "SIEMENS MR HEADER")[0x0A]
        except KeyError:
            return 0, None
        value = element.value
        return int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value or 0), None
    normal = csareader.get_slice_normal(csa)
    usable = normal is not None and np.isfinite(normal).all() and abs(np.linalg.norm(normal) - 1) < 0.01
    return int(csareader.get_n_mosaic(csa) or 0), tuple(float(value) for value in normal) if usable else None
