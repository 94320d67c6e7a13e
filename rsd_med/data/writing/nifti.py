"""Volumes to NIfTI, slice by slice, in the geometry in which they came."""

import gzip
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from torch import Tensor

from rsd_med.base.files import written_aside
from rsd_med.data.orientation import stack_geometry
from rsd_med.data.scan import UNKNOWN, Geometry
from rsd_med.data.writing import NOTE

_LARGEST_SIDE = 32767  # NIfTI-1 counts in int16
_IN_MEMORY = 1 << 24  # bytes of voxels that wait in memory; more go to a temporary file


class NiftiWriter:
    """A NIfTI file that grows by slices and appears when the block ends well; memory holds one slice.

    The voxel (i, j, k) of the file is (y, x, slice): what was read from NIfTI goes back in the order of its axes. The
    affine is written as sform and qform ("scanner"); where it is unknown both codes are 0, and where the spacing is
    unknown too, so is the unit of length. Nothing else is said about the patient: no name, no extension, and gzip
    without name or date.

    Parameters
    ----------
    path
        ``.nii`` or ``.nii.gz``; its folder exists.
    geometry
        Of the volume, where it is known beforehand; else it comes from the slices.

    Examples
    --------
    >>> with NiftiWriter(path) as file:
    ...     for scan in source:
    ...         file.add(reconstruct(scan), scan.geometry)
    """

    def __init__(self, path: Path, geometry: Geometry | None = None) -> None:
        if not path.name.lower().endswith((".nii", ".nii.gz")):
            raise ValueError(f"{path.name} ends neither in .nii nor in .nii.gz.")
        self.path = path
        self._geometry = geometry
        self._slices: list[Geometry] = []
        self._shape: tuple[int, int] | None = None
        self._dtype: np.dtype[Any] = np.dtype(np.float32)
        self._body: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (closed in __exit__)

    def add(self, image: Tensor | np.ndarray, geometry: Geometry = UNKNOWN) -> None:
        """Append a slice.

        Parameters
        ----------
        image
            ``(y, x)``; real numbers are written as float32, complex ones as complex64, all slices alike.
        geometry
            The slice's.

        Raises
        ------
        ValueError
            If the slice does not go with those before, or is no image.
        """
        values = np.asarray(image.detach().cpu() if isinstance(image, Tensor) else image)
        dtype = np.dtype("<c8" if values.dtype.kind == "c" else "<f4")
        if values.ndim != 2 or 0 in values.shape or max(values.shape) > _LARGEST_SIDE:
            raise ValueError(f"A slice of shape {values.shape} cannot be written to NIfTI.")
        if self._shape is None:
            self._shape, self._dtype = (values.shape[0], values.shape[1]), dtype
        if values.shape != self._shape or dtype != self._dtype:
            raise ValueError(f"A slice is {dtype} {values.shape}, and those before are {self._dtype} {self._shape}.")
        self._body.write(np.ascontiguousarray(values.T, dtype=dtype).tobytes())  # NIfTI's first axis varies fastest
        self._slices.append(geometry)

    def __enter__(self) -> "NiftiWriter":
        """Start the file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the file if nothing went wrong; with no slice there is none."""
        with self._body:
            if kind is None and self._shape is not None:
                self._finish(self._shape)

    def _finish(self, shape: tuple[int, int]) -> None:
        if len(self._slices) > _LARGEST_SIDE:
            raise ValueError(f"NIfTI holds at most {_LARGEST_SIDE} slices, not {len(self._slices)}.")
        geometry = self._geometry if self._geometry is not None else stack_geometry(self._slices)
        start = _header((*shape, len(self._slices)), self._dtype, geometry)
        self._body.seek(0)
        with written_aside(self.path) as side, side.open("wb") as raw:
            if not self.path.name.lower().endswith(".gz"):
                raw.write(start)
                shutil.copyfileobj(self._body, raw)
            else:
                with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
                    packed.write(start)
                    shutil.copyfileobj(self._body, packed)


def write_nifti(path: Path, volume: Tensor | np.ndarray, geometry: Geometry = UNKNOWN) -> None:
    """Write a volume that is held in memory; :class:`NiftiWriter` writes one slice by slice.

    Parameters
    ----------
    path
        ``.nii`` or ``.nii.gz``; its folder exists.
    volume
        ``(slice, y, x)`` or ``(y, x)``, real (written as float32) or complex (complex64).
    geometry
        Its affine maps (y, x, slice) to millimetres, RAS+.

    Raises
    ------
    ValueError
        If the array is no volume, or the name no NIfTI name.
    OSError
        If the disk is full or the folder cannot be written; nothing half-written stays.
    """
    slices = volume[None] if volume.ndim == 2 else volume
    with NiftiWriter(path, geometry) as file:
        for image in slices:
            file.add(image)


def _header(shape: tuple[int, int, int], dtype: np.dtype[Any], geometry: Geometry) -> bytes:
    """Return the header and the four bytes up to the voxels."""
    import nibabel

    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["descrip"] = f"rsd_med: {NOTE}".encode()
    spacing = geometry.spacing_mm
    if spacing is not None:
        zooms = (*spacing, 1.0)[:3]
        header.set_zooms([float(zoom) for zoom in zooms])
    if geometry.affine is not None:
        affine = np.asarray(geometry.affine, dtype=np.float64)
        header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
        header.set_qform(affine, code="scanner", strip_shears=True)
        header.set_sform(affine, code="scanner")
    header.set_xyzt_units("unknown" if spacing is None and geometry.affine is None else "mm")
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + bytes(4)  # four zeros: no extensions
