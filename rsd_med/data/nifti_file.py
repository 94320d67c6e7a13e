"""NIfTI files of unknown origin: headers that are checked before anything is believed, voxels read plane by plane."""

import gzip
import math
import os
import tempfile
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from rsd_med.base.errors import DataError
from rsd_med.base.limits import MAX_SIDE
from rsd_med.data.nifti_grid import grid_of
from rsd_med.data.recent import RecentArrays
from rsd_med.data.recognition import is_packed, unpacked_start

MAX_VOXELS = 2**28
"""Largest volume that is read."""
MAX_UNPACKED_BYTES = 16 * 2**30
"""Most that a packed file may unpack to."""
SPOOLED = 64 * 2**20
"""Unpacked voxels kept in memory; more go to a temporary file."""
MOST_UNPACKED = 4
"""Packed files that stay unpacked at a time."""
MAX_HEADER_BYTES = 16 * 2**20
"""Where the data may begin at the latest: what lies before are extensions, which are never read."""

_PIECE = 1 << 20
_INFLATION = 1100  # deflate cannot expand by more than about 1030


@dataclass(frozen=True)
class NiftiVolume:
    """What is kept of a file's header: numbers only, no text.

    Attributes
    ----------
    path
        The file.
    name
        Its path below the root; from the root's parent folder on in messages.
    packed
        Whether it is a gzip file.
    header
        The header as nibabel reads it, its text fields blanked.
    shape
        (i, j, k) or (i, j, k, volume), as in the file.
    is_complex
        Whether its voxels are complex numbers.
    affine
        Voxel indices to millimetres, float64 (4, 4); None if the header does not hold a usable one.
    zooms
        Voxel sizes in millimetres, (i, j, k): the affine's, or without one the header's; None if there are none.
    contradicts
        Whether the header's voxel sizes are others than those of its affine.
    """

    path: Path
    name: str
    packed: bool
    header: Any
    shape: tuple[int, ...]
    is_complex: bool
    affine: np.ndarray | None
    zooms: tuple[float, float, float] | None
    contradicts: bool

    @property
    def held(self) -> int:
        """How many volumes the file holds."""
        return self.shape[3] if len(self.shape) == 4 else 1

    @property
    def plane_bytes(self) -> int:
        """What one plane (i, j) takes in the file."""
        return int(self.shape[0] * self.shape[1] * self.header.get_data_dtype().itemsize)


class VoxelFiles:
    """The voxels of NIfTI files, plane by plane; of packed files the last few, unpacked.

    What is unpacked waits in memory up to ``SPOOLED`` bytes and in an unnamed temporary file beyond, never longer than
    the header says. Nothing of it goes along to another process.
    """

    def __init__(self) -> None:
        self._start_empty()

    def cut(self, file: NiftiVolume, volume: int, axis: int, number: int) -> np.ndarray:
        """Read one cut across ``axis``: float32 or complex64, the header's intensity scale applied.

        Raises
        ------
        DataError
            If the file is shorter than its header says, or damaged.
        """
        if self._process != os.getpid():
            self._start_empty()  # forked: the files' positions are shared with the parent
        try:
            with self._lock:
                if axis == 2:
                    return _scaled(file, self._plane(file, volume, number))
                return _scaled(file, self._across(file, volume, axis, number))
        except (OSError, EOFError, zlib.error) as problem:
            raise file_error(file.name, _reason(problem, "is shorter than its header says, or damaged")) from problem

    def __getstate__(self) -> dict[str, Any]:
        """Leave the voxels behind."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start empty."""
        self._start_empty()

    def __del__(self) -> None:
        """Close what is unpacked."""
        for voxels in getattr(self, "_unpacked", {}).values():
            voxels.close()

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._unpacked: OrderedDict[Path, IO[bytes]] = OrderedDict()
        self._blocks = RecentArrays()

    def _across(self, file: NiftiVolume, volume: int, axis: int, number: int) -> np.ndarray:
        """Return a cut across one of the first two axes, which goes through all planes, with its neighbours at hand."""
        cut_bytes = file.plane_bytes // file.shape[axis] * file.shape[2]
        together = max(1, self._blocks.budget_bytes // cut_bytes)
        block, within = divmod(number, together)
        cuts = range(block * together, min((block + 1) * together, file.shape[axis]))

        def read() -> np.ndarray:
            planes = (self._plane(file, volume, plane) for plane in range(file.shape[2]))
            return np.stack([plane.take(cuts, axis) for plane in planes], axis=-1)

        return self._blocks.get((file.path, volume, axis, block), read).take(within, axis)

    def _plane(self, file: NiftiVolume, volume: int, plane: int) -> np.ndarray:
        size = file.plane_bytes
        offset = (volume * file.shape[2] + plane) * size
        if file.packed:
            voxels = self._unpack(file)
            voxels.seek(offset)
            raw = voxels.read(size)
        else:
            with file.path.open("rb", buffering=0) as direct:
                direct.seek(int(file.header["vox_offset"]) + offset)
                raw = direct.read(size)
        if len(raw) < size:
            raise EOFError
        return np.frombuffer(raw, file.header.get_data_dtype()).reshape(file.shape[:2], order="F")

    def _unpack(self, file: NiftiVolume) -> IO[bytes]:
        if file.path not in self._unpacked:
            voxels = tempfile.SpooledTemporaryFile(max_size=SPOOLED)  # noqa: SIM115 (closed when its turn is over)
            try:
                with gzip.open(file.path) as packed:
                    packed.seek(int(file.header["vox_offset"]))
                    remaining = file.plane_bytes * file.shape[2] * file.held
                    while remaining > 0:
                        piece = packed.read(min(_PIECE, remaining))
                        if not piece:
                            raise EOFError
                        voxels.write(piece)
                        remaining -= len(piece)
                    packed.read(1)  # only at its end does a gzip file compare its checksum
            except BaseException:
                voxels.close()
                raise
            self._unpacked[file.path] = voxels
            while len(self._unpacked) > MOST_UNPACKED:
                self._unpacked.popitem(last=False)[1].close()
        self._unpacked.move_to_end(file.path)
        return self._unpacked[file.path]


def read_header(path: Path, name: str) -> NiftiVolume:
    """Read and check the header of a NIfTI file, and nothing else of it.

    Parameters
    ----------
    path
        A single file, NIfTI-1 or NIfTI-2, packed with gzip or not, whatever its name is.
    name
        What to call it in ids and messages.

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
        packed, start = is_packed(path), unpacked_start(path)
    except (OSError, EOFError, zlib.error) as problem:
        raise file_error(name, _reason(problem, "cannot be read: it is damaged")) from problem
    kinds = {348: Nifti1Header, 540: Nifti2Header}
    sizes = (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    kind = next((kinds[size] for size in sizes if size in kinds), None)
    length = 0 if kind is None else kind.template_dtype.itemsize
    if kind is None or len(start) < length:
        raise file_error(name, "is no NIfTI file")
    try:
        header = kind(start[:length], check=False)
        if bytes(header["magic"])[:3] not in (b"n+1", b"n+2"):
            raise file_error(name, "is no single NIfTI file (pairs of .hdr and .img are not read)")
        shape = _checked_shape(name, [int(length) for length in header["dim"]])
        dtype = header.get_data_dtype()
    except (HeaderDataError, OverflowError, ValueError, KeyError) as problem:
        raise file_error(name, "has a header that contradicts itself") from problem
    if dtype.kind not in "uifc":
        raise file_error(name, f"holds {dtype}, not numbers (colours are not read)")
    if math.prod(shape[:3]) > MAX_VOXELS:
        raise file_error(name, f"declares {math.prod(shape[:3])} voxels a volume, more than is read")
    offset = float(header["vox_offset"])
    if not length <= offset <= MAX_HEADER_BYTES:
        raise file_error(name, "has a header that contradicts itself (where the voxels begin)")
    _check_size(name, packed, path.stat().st_size, offset + math.prod(shape) * dtype.itemsize)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if math.isinf(slope) or (slope != 0 and not math.isnan(slope) and not math.isfinite(intercept)):
        raise file_error(name, "has an intensity scale that is no number")
    for text in ("descrip", "db_name", "aux_file", "intent_name"):  # may name the patient
        if text in header:
            header[text] = b""
    affine, zooms, contradicts = grid_of(header)
    return NiftiVolume(path, name, packed, header, shape, dtype.kind == "c", affine, zooms, contradicts)


def _check_size(name: str, packed: bool, stored: int, declared: float) -> None:
    """Refuse a file that cannot hold what its header declares, before any of it is read."""
    if not packed:
        if declared > stored:
            raise file_error(name, "is shorter than its header says: copy it again")
    elif declared > MAX_UNPACKED_BYTES:
        raise file_error(name, f"unpacks to {declared / 2**30:.0f} GiB, more than is read: unpack it to .nii first")
    elif declared > _INFLATION * stored:
        raise file_error(name, "is shorter than its header says: no packing makes so much so small")


def _scaled(file: NiftiVolume, values: np.ndarray) -> np.ndarray:
    """Apply the header's intensity scale: float32 or complex64."""
    slope, intercept = float(file.header["scl_slope"]), float(file.header["scl_inter"])
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite, and is refused as such
        if slope != 0 and not math.isnan(slope) and (slope, intercept) != (1.0, 0.0):
            values = values * slope + intercept
        return values.astype(np.complex64 if file.is_complex else np.float32)


def _checked_shape(name: str, dim: list[int]) -> tuple[int, ...]:
    """Return (i, j, k) or (i, j, k, volume); further axes must be 1 long."""
    if not 1 <= dim[0] <= 7:
        raise file_error(name, f"declares {dim[0]} dimensions")
    sides = dim[1 : dim[0] + 1]
    if min(sides) < 1 or max(sides[:3]) > MAX_SIDE:
        raise file_error(name, f"declares the impossible shape {tuple(sides)}")
    while len(sides) > 3 and sides[-1] == 1:
        sides.pop()
    if len(sides) < 2 or len(sides) > 4:
        raise file_error(name, f"declares the shape {tuple(sides)}: two to four dimensions are read")
    return tuple(sides) if len(sides) > 2 else (*sides, 1)


def _reason(problem: Exception, otherwise: str) -> str:
    """Return what to say of a file that could not be read."""
    if isinstance(problem, FileNotFoundError):
        return "is not there any more: put it back, then start again"
    if isinstance(problem, PermissionError):
        return "may not be read: give yourself permission to read it"
    return f"{otherwise}: copy it again"


def file_error(name: str, problem: str) -> DataError:
    """Return the error of a file, in one sentence; ``problem`` begins with a verb."""
    return DataError(f"The NIfTI file {name} {problem}.")
