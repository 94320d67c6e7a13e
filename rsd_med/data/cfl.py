"""BART's pair of files (Uecker et al., https://mrirecon.github.io/bart): ``NAME.hdr`` with sizes, ``NAME.cfl``."""

import math
import re
from pathlib import Path

import numpy as np

from rsd_med.base.errors import DataError
from rsd_med.base.limits import MAX_COILS, MAX_SIDE

COIL, SETS, SLICE, TRAILING = 3, 4, 13, 16
"""BART's dimensions: 0 to 2 are space, read first; then coils, map sets, …, slices (13); 16 in all."""

_LARGEST_HEADER = 1 << 20


def cfl_of(path: Path) -> Path | None:
    """Return the ``.cfl`` file that a path means: itself, that of its ``.hdr``, or as BART names it, without an ending.

    Nothing is opened but a ``.hdr``, which Analyze has too; None where the path means no such pair.
    """
    suffix = path.suffix.lower()
    if suffix == ".cfl":
        return path
    if suffix == ".hdr":
        return path.with_suffix(".cfl") if _begins_as_barts(path) else None
    beside = path.with_name(f"{path.name}.cfl")
    return beside if not path.exists() and beside.is_file() else None


def open_cfl(path: Path) -> np.ndarray:
    """Map a file's numbers into memory; none is read yet.

    Parameters
    ----------
    path
        ``NAME.cfl``, with ``NAME.hdr`` beside it.

    Returns
    -------
    numpy.ndarray
        complex64, 16 axes in BART's order, the first varying fastest.

    Raises
    ------
    DataError
        If one of the two is missing, or they do not fit one another.
    """
    sizes = _sizes(path.with_suffix(".hdr"))
    wanted = math.prod(sizes) * 8
    try:
        length = path.stat().st_size
        if length != wanted:
            raise DataError(
                f"{path.name}: the file has {length} bytes and its header asks for {wanted}; copy both again."
            )
        return np.memmap(path, dtype="<c8", mode="r", shape=sizes, order="F")
    except PermissionError as error:
        raise DataError(f"{path.name}: the file may not be read; give yourself read permission.") from error
    except FileNotFoundError as error:
        raise DataError(f"{path.name}: there is no such file beside its header; copy both.") from error
    except OSError as error:
        raise DataError(f"{path.name}: the file cannot be read; copy it again.") from error


def read_cfl_maps(path: Path) -> np.ndarray:
    """Read coil maps as ``bart ecalib`` writes them.

    Parameters
    ----------
    path
        ``NAME.cfl``, ``NAME.hdr``, or BART's ``NAME``.

    Returns
    -------
    numpy.ndarray
        complex64, (slice, set, coil, y, x).

    Raises
    ------
    DataError
        If there is no such pair of files, it is damaged, or it holds something else than maps of slices.
    """
    file = cfl_of(path)
    if file is None:
        raise DataError(f"{path.name}: no file of BART's; give NAME.cfl with NAME.hdr beside it.")
    array = open_cfl(file)
    y, x = plane(array.shape, file.name)
    others = [size for axis, size in enumerate(array.shape) if axis > SETS and axis != SLICE]
    if math.prod(others) != 1:
        raise DataError(f"{file.name}: maps have the dimensions x, y, z, coil, set and slice, not {array.shape}.")
    maps = np.moveaxis(array, (SLICE, SETS, COIL, y, x), (0, 1, 2, 3, 4)).reshape(
        array.shape[SLICE], array.shape[SETS], array.shape[COIL], array.shape[y], array.shape[x]
    )
    if not np.isfinite(maps).all():
        raise DataError(f"{file.name}: the maps hold NaN or infinite values; write them again.")
    return np.ascontiguousarray(maps)


def plane(sizes: tuple[int, ...], name: str) -> tuple[int, int]:
    """Return which two of BART's first three dimensions are y and x: the one of size 1 is left out.

    Raises
    ------
    DataError
        If none is 1, which is a volume, or a side or the number of coils is none.
    """
    wide = [axis for axis in range(3) if sizes[axis] > 1]
    if len(wide) == 3:
        raise DataError(
            f"{name}: k-space of {sizes[0]} × {sizes[1]} × {sizes[2]} is three-dimensional, and slices are read; cut "
            "it along the readout: bart fft -u -i 1 IN TEMP && bart transpose 0 13 TEMP OUT."
        )
    if len(wide) < 2 or max(sizes[axis] for axis in wide) > MAX_SIDE or not 1 <= sizes[COIL] <= MAX_COILS:
        raise DataError(
            f"{name}: sizes {sizes[:5]} are no slices of k-space; BART's first four dimensions are x, y, z, coil."
        )
    return wide[0], wide[1]


def _sizes(path: Path) -> tuple[int, ...]:
    """Return the sixteen sizes that a header declares."""
    numbers: list[str] = []
    lines = iter(_text(path).splitlines())
    for line in lines:
        if line.strip() == "# Dimensions":
            numbers = next(lines, "").split()
            break
    if not numbers or not all(re.fullmatch(r"[1-9]\d{0,9}", number) for number in numbers):
        raise DataError(f"{path.name}: no header of BART's: it needs a line '# Dimensions' and the sizes below it.")
    sizes = tuple(map(int, numbers))
    if len(sizes) < TRAILING:
        sizes += (1,) * (TRAILING - len(sizes))
    if math.prod(sizes[TRAILING:]) != 1:
        raise DataError(f"{path.name}: more than {TRAILING} dimensions are not read.")
    return sizes[:TRAILING]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_HEADER).decode("latin-1")
    except PermissionError as error:
        raise DataError(f"{path.name}: the file may not be read; give yourself read permission.") from error
    except OSError as error:
        raise DataError(
            f"{path.name}: the header with the sizes is missing; BART writes NAME.cfl and NAME.hdr, copy both."
        ) from error


def _begins_as_barts(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"# "
    except OSError:
        return False
