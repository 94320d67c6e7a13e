"""Slices of NIfTI volumes, each with its place in the patient."""

import gzip
import math
import zlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator

from rsd_med.base.errors import DataError
from rsd_med.base.settings import Settings
from rsd_med.data.fitting import fit
from rsd_med.data.paths import resolve_root
from rsd_med.data.recent import RecentArrays
from rsd_med.data.scan import Geometry, Picture
from rsd_med.data.source import Source

MAX_SIDE = 4096
MAX_VOXELS = 2**28
"""Largest volume that is read: in double precision 2 GiB."""
MAX_HEADER_BYTES = 16 * 2**20
"""Where the data may begin at the latest: what lies before are extensions, which are never read."""


class NiftiSettings(Settings):
    """Slices of the NIfTI volumes in a folder, or of one file.

    Slices are kept in the order of the file: never flipped, never reoriented. The first remaining axis of the
    volume becomes y, the second x. Names, descriptions and extensions of the header are never read.

    Attributes
    ----------
    root
        A folder (with the folders below it) of ``.nii`` and ``.nii.gz`` files, or one such file.
    include
        Which files of a folder to take, as a pattern of their names, for example ``*_T1w.nii.gz``.
    axis
        The axis of the volume that is cut across.
    slices
        How many central slices of each volume to take; None takes all.
    volume
        Which volume of a four-dimensional file.
    percentiles
        Of each volume, the percentiles of intensity that become -1 and 1; values beyond are clipped. A complex
        volume is divided by the upper percentile of its magnitude.
    resize
        Resample to a square of this side (antialiased); a slice that is not square is padded first.
    pad
        Place in the middle of a square of this side; a longer axis is cut.
    """

    kind: Literal["nifti"] = "nifti"
    root: str
    include: str = "*"
    axis: Literal[0, 1, 2] = 2
    slices: int | None = Field(default=None, ge=1)
    volume: int = Field(default=0, ge=0)
    percentiles: tuple[float, float] = (0.0, 99.5)
    resize: int | None = Field(default=None, ge=1, le=4096)
    pad: int | None = Field(default=None, ge=1, le=4096)

    @field_validator("percentiles")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 100:
            raise ValueError("must be two rising numbers between 0 and 100")
        return value

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "Nifti":
        """Return the source; of each file only the header is read."""
        del seed
        return Nifti(self, resolve_root(self.root, base_dir))


@dataclass(frozen=True)
class NiftiVolume:
    """What is kept of a file's header: numbers only, no text.

    Attributes
    ----------
    path
        The file.
    name
        Its path below the root, without suffix.
    header
        The header as nibabel reads it, its text fields blanked.
    shape
        (i, j, k) or (i, j, k, volume), as in the file.
    is_complex
        Whether its voxels are complex numbers.
    affine
        Voxel indices to millimetres, float64 (4, 4); None if the header does not hold a usable one.
    zooms
        Voxel sizes in millimetres, (i, j, k); None if they are not positive numbers.
    """

    path: Path
    name: str
    header: Any
    shape: tuple[int, ...]
    is_complex: bool
    affine: np.ndarray | None
    zooms: tuple[float, float, float] | None


class Nifti(Source):
    """The slices of NIfTI volumes.

    A picture's affine maps (y, x, 0) of the fitted slice to millimetres, RAS+.

    Raises
    ------
    DataError
        If there is no file, or one is damaged, impossible, or does not go with the others.
    """

    def __init__(self, settings: NiftiSettings, root: Path) -> None:
        self.settings = settings
        self.volumes = [read_header(path, name) for path, name in _listed(root, settings.include)]
        if len({volume.is_complex for volume in self.volumes}) > 1:
            raise DataError(f"{root.name} mixes complex and real volumes: choose one sort with data.include.")
        self.items = [(number, cut) for number, volume in enumerate(self.volumes) for cut in self._cuts(volume)]
        self._recent = RecentArrays()

    def __len__(self) -> int:
        """Return the number of slices of all volumes."""
        return len(self.items)

    def id(self, index: int) -> str:
        """Return the file's path below the root and the slice's number in the volume."""
        number, cut = self.items[index]
        return f"{self.volumes[number].name}_slice{cut:03d}"

    def shape(self, index: int) -> tuple[int, ...]:
        """Return (1, H, W)."""
        number, _ = self.items[index]
        side = self.settings.pad or self.settings.resize
        if side is not None:
            return (1, side, side)
        rows, columns = self._axes()
        shape = self.volumes[number].shape
        return (1, shape[rows], shape[columns])

    def __getitem__(self, index: int) -> Picture:
        """Read one slice; the volume around it is kept for the next."""
        number, cut = self.items[index]
        volume = self.volumes[number]
        scaled = self._recent.get(number, lambda: self._scaled(volume))
        image = torch.from_numpy(np.array(scaled.take(cut, axis=self.settings.axis)[None]))
        background = 0.0 if volume.is_complex else -1.0
        settings = self.settings
        fitted = fit(image, resize=settings.resize, pad=settings.pad, keep_all=True, background=background)
        geometry = fitted.geometry(self._slice_geometry(volume, cut))
        return Picture(id=self.id(index), image=fitted.image.contiguous(), geometry=geometry)

    def _axes(self) -> tuple[int, int]:
        """Return the axes of the volume that become y and x."""
        rows, columns = (axis for axis in (0, 1, 2) if axis != self.settings.axis)
        return rows, columns

    def _cuts(self, volume: NiftiVolume) -> range:
        held = volume.shape[3] if len(volume.shape) == 4 else 1
        if self.settings.volume >= held:
            raise _error(volume.path, f"holds {held} volumes, and number {self.settings.volume} (from 0) is asked for")
        total = volume.shape[self.settings.axis]
        count = min(total, self.settings.slices or total)
        first = (total - count) // 2
        return range(first, first + count)

    def _slice_geometry(self, volume: NiftiVolume, cut: int) -> Geometry:
        order = (*self._axes(), self.settings.axis)
        affine = None
        if volume.affine is not None:
            affine = np.eye(4)
            affine[:, :3] = volume.affine[:, list(order)]
            affine[:, 3] = volume.affine[:, 3] + cut * volume.affine[:, self.settings.axis]
        spacing = None if volume.zooms is None else tuple(volume.zooms[axis] for axis in order)
        return Geometry(affine, spacing)

    def _scaled(self, volume: NiftiVolume) -> np.ndarray:
        """Read a whole volume: float32 in [-1, 1], or complex64 of about unit magnitude."""
        values = read_voxels(volume, self.settings.volume)
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise _error(volume.path, f"has {bad} voxels that are NaN or infinite")
        if volume.is_complex:
            scale = float(np.percentile(np.abs(values), self.settings.percentiles[1]))
            if scale == 0:
                raise _error(volume.path, "is empty: nearly all its voxels are zero")
            return (values / scale).astype(np.complex64)
        low, high = np.percentile(values, self.settings.percentiles)
        if not low < high:
            raise _error(volume.path, f"is constant: its intensities are all about {high:g}")
        return np.clip((values - low) * (2 / (high - low)) - 1, -1, 1).astype(np.float32)


def read_header(path: Path, name: str) -> NiftiVolume:
    """Read and check the header of a NIfTI file, and nothing else of it.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` file, NIfTI-1 or NIfTI-2.
    name
        What to call it in ids.

    Returns
    -------
    NiftiVolume
        Its shape, type and geometry.

    Raises
    ------
    DataError
        If it is no NIfTI file, or declares something impossible or far too large.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    try:
        with _opened(path) as file:
            start = file.read(540)
    except (OSError, EOFError, zlib.error) as problem:
        raise _error(path, "cannot be read: it is missing, damaged or no gzip file") from problem
    kinds = {348: Nifti1Header, 540: Nifti2Header}
    sizes = (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    kind = next((kinds[size] for size in sizes if size in kinds), None)
    length = 0 if kind is None else kind.template_dtype.itemsize
    if kind is None or len(start) < length:
        raise _error(path, "is no NIfTI file")
    try:
        header = kind(start[:length], check=False)
        if bytes(header["magic"])[:3] not in (b"n+1", b"n+2"):
            raise _error(path, "is no single NIfTI file (pairs of .hdr and .img are not read)")
        shape = _checked_shape(path, [int(length) for length in header["dim"]])
        dtype = header.get_data_dtype()
    except (HeaderDataError, OverflowError, ValueError, KeyError) as problem:
        raise _error(path, "has a header that contradicts itself") from problem
    if dtype.kind not in "uifc":
        raise _error(path, f"holds {dtype}, not numbers (colours are not read)")
    if math.prod(shape[:3]) > MAX_VOXELS:
        raise _error(path, f"declares {math.prod(shape[:3])} voxels a volume, more than is read")
    offset = float(header["vox_offset"])
    if not length <= offset <= MAX_HEADER_BYTES:
        raise _error(path, "has a header that contradicts itself (where the voxels begin)")
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if math.isinf(slope) or (slope != 0 and not math.isnan(slope) and not math.isfinite(intercept)):
        raise _error(path, "has an intensity scale that is no number")
    for text in ("descrip", "db_name", "aux_file", "intent_name"):  # may name the patient
        if text in header:
            header[text] = b""
    return NiftiVolume(path, name, header, shape, dtype.kind == "c", _usable_affine(header), _usable_zooms(header))


def read_voxels(volume: NiftiVolume, number: int = 0) -> np.ndarray:
    """Read one volume of a file.

    Parameters
    ----------
    volume
        The checked header of the file.
    number
        Which volume of a four-dimensional file.

    Returns
    -------
    numpy.ndarray
        (i, j, k), float32 or complex64, with the header's intensity scale applied.

    Raises
    ------
    DataError
        If the file is shorter than its header says, or damaged.
    """
    header = volume.header
    dtype = header.get_data_dtype()
    size = math.prod(volume.shape[:3]) * dtype.itemsize
    held = volume.shape[3] if len(volume.shape) == 4 else 1
    try:
        with _opened(volume.path) as file:
            file.seek(int(header["vox_offset"]) + number * size)
            raw = file.read(size)
            if number == held - 1:
                file.read(1)  # only at its end does a gzip file compare its checksum
    except (OSError, EOFError, zlib.error) as problem:
        raise _error(volume.path, "is shorter than its header says, or damaged: copy it again") from problem
    if len(raw) < size:
        raise _error(volume.path, "is shorter than its header says: copy it again")
    values = np.frombuffer(raw, dtype).reshape(volume.shape[:3], order="F")
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite, and is refused as such
        if slope != 0 and not math.isnan(slope) and (slope, intercept) != (1.0, 0.0):
            values = values * slope + intercept
        return values.astype(np.complex64 if volume.is_complex else np.float32)


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def _listed(root: Path, include: str) -> list[tuple[Path, str]]:
    if root.is_file():
        if not _is_nifti(root):
            raise _error(root, "is neither .nii nor .nii.gz")
        return [(root, _stem(root.name))]
    if not root.is_dir():
        raise DataError(f"The NIfTI folder or file {root.name} does not exist: check data.root.")
    found = [path for path in root.rglob("*") if fnmatchcase(path.name, include) and _is_nifti(path) and path.is_file()]
    if not found:
        raise DataError(
            f"The folder {root.name} holds no .nii or .nii.gz file whose name matches '{include}': check data.root "
            "and data.include."
        )
    named = [(path, _stem(path.relative_to(root).as_posix())) for path in found]
    return sorted(named, key=lambda item: item[1])


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz")) and not path.name.startswith(".")


def _stem(name: str) -> str:
    return name[: name.lower().rindex(".nii")]


def _checked_shape(path: Path, dim: list[int]) -> tuple[int, ...]:
    """Return (i, j, k) or (i, j, k, volume); further axes must be 1 long."""
    if not 1 <= dim[0] <= 7:
        raise _error(path, f"declares {dim[0]} dimensions")
    sides = dim[1 : dim[0] + 1]
    if min(sides) < 1 or max(sides[:3]) > MAX_SIDE:
        raise _error(path, f"declares the impossible shape {tuple(sides)}")
    while len(sides) > 3 and sides[-1] == 1:
        sides.pop()
    if len(sides) < 2 or len(sides) > 4:
        raise _error(path, f"declares the shape {tuple(sides)}: two to four dimensions are read")
    return tuple(sides) if len(sides) > 2 else (*sides, 1)


def _usable_affine(header: Any) -> np.ndarray | None:
    """Return the affine, or None where the header has none that can be trusted: orientation unknown."""
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        return None
    try:
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        return None
    usable = affine.shape == (4, 4) and np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-12
    return affine if usable else None


def _usable_zooms(header: Any) -> tuple[float, float, float] | None:
    zooms = [float(zoom) for zoom in header["pixdim"][1:4]]
    if not all(math.isfinite(zoom) and zoom > 0 for zoom in zooms):
        return None
    return (zooms[0], zooms[1], zooms[2])


def _error(path: Path, problem: str) -> DataError:
    return DataError(f"The NIfTI file {path.name} {problem}.")
