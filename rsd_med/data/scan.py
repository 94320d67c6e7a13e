"""What a reader hands out: the raw k-space of one slice (:class:`Scan`) or one image (:class:`Picture`)."""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from rsd_med.calibration.scale import contiguous


@dataclass(frozen=True)
class Geometry:
    """Where an item lies in the patient, as far as its file says.

    Attributes
    ----------
    affine
        Voxel indices to millimetres in RAS+ (NIfTI's convention), float64, shape (4, 4); None when the file does
        not say. Left and right are never guessed.
    spacing_mm
        Pixel spacing in millimetres, in the order of the image's spatial axes (y, x), followed by the slice
        spacing where it is known; None when the file does not say.
    """

    affine: np.ndarray | None = None
    spacing_mm: tuple[float, ...] | None = None


UNKNOWN = Geometry()


@dataclass(frozen=True)
class Scan:
    """The raw k-space of one slice, in the units of its file.

    Attributes
    ----------
    id
        The item's name, unique within its source and the same on every machine.
    kspace
        complex64, shape (coil, y, x), centred; y is the readout. Single-coil data have one coil.
    acquired
        bool, shape (x,): the columns the scanner really measured. Columns that were never measured are zero in
        ``kspace``, and a zero there carries no information.
    maps
        Coil sensitivities measured apart from this k-space (a calibration scan), complex64, shape (coil, y, x), or
        several sets of them (set, coil, y, x); None when they have to be estimated.
    acs_lines
        The number of fully sampled central columns when the file says it, else None.
    geometry
        Position and spacing, as far as known.
    noise
        Samples of a noise scan, complex64, shape (coil, n), scaled so that their covariance is the noise of one entry
        of ``kspace``; None when the file has none.
    calibration
        k-space of separately measured calibration lines, on the grid of ``kspace``, complex64, shape (coil, y, x), zero
        where not measured; None when there are none, or when they are part of ``kspace``.
    readout
        bool, shape (y,): the rows that were really sampled, where an asymmetric echo or zero padding leaves some out;
        None when all were. Where a row or its column was not sampled, ``kspace`` is zero and says nothing.
    trajectory
        float32, shape (samples, 2): where a non-Cartesian scan measured, (k_y, k_x) in cycles per field of view, from
        -n/2 to n/2. ``kspace`` then has the shape (coil, 1, samples), and ``acquired`` is True everywhere. None for a
        Cartesian scan.
    image_size
        (y, x) of the image of a non-Cartesian scan; None where it is that of ``kspace``.
    sampled
        bool, shape (y, x): the entries that were sampled, where they are not whole columns, as in a plane of two phase
        encodings; None when ``acquired`` and ``readout`` say it all.
    reconstructed
        (y, x) of the part about the centre of the image that the file's reconstructed space shows; beyond it the image
        is as wide as what was encoded. None where that is all, or the file does not say.
    """

    id: str
    kspace: Tensor
    acquired: Tensor
    maps: Tensor | None = None
    acs_lines: int | None = None
    geometry: Geometry = field(default=UNKNOWN)
    noise: Tensor | None = None
    calibration: Tensor | None = None
    readout: Tensor | None = None
    trajectory: Tensor | None = None
    image_size: tuple[int, int] | None = None
    sampled: Tensor | None = None
    reconstructed: tuple[int, int] | None = None

    @property
    def matrix(self) -> tuple[int, int]:
        """The (y, x) of the image."""
        rows, columns = self.image_size or self.kspace.shape[-2:]
        return rows, columns

    @property
    def gaps(self) -> bool:
        """Whether something between the first and the last column was not sampled, or it is no Cartesian scan."""
        return self.trajectory is not None or self.sampled is not None or not contiguous(self.acquired)


@dataclass(frozen=True)
class Picture:
    """One image.

    Attributes
    ----------
    id
        The item's name, unique within its source and the same on every machine.
    image
        float32 in [-1, 1], shape (C, H, W), for photographs and magnitude images; complex64, shape (1, H, W), for
        complex images.
    geometry
        Position and spacing, as far as known.
    """

    id: str
    image: Tensor
    geometry: Geometry = field(default=UNKNOWN)
