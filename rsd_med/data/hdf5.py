"""Opening HDF5 files of unknown origin: what a file declares is checked before a byte of its data is read.

HDF5 can point at other files, declare a size it does not hold, and name filters that load code. None of that belongs in
a k-space file, so it is refused by name.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsd_med.base.errors import DataError
from rsd_med.base.limits import MAX_SIDE
from rsd_med.data.recent import RecentArrays

if TYPE_CHECKING:
    import h5py


MAX_READ_BYTES = 1 << 30
"""Largest single read: one slice, one chunk."""

_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
_INFLATION = 1100  # deflate cannot expand by more than about 1030
_READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError)


@contextmanager
def opened(path: Path) -> "Iterator[h5py.File]":
    """Open an HDF5 file for reading and close it again.

    Parameters
    ----------
    path
        The file.

    Yields
    ------
    h5py.File
        The open file.

    Raises
    ------
    DataError
        If the file is missing, empty, truncated or no HDF5 file.
    """
    with open_file(path) as file:
        yield file


def open_file(path: Path) -> "h5py.File":
    """Open an HDF5 file for reading; the caller closes it.

    Raises
    ------
    DataError
        If the file is missing, empty, truncated or no HDF5 file.
    """
    import h5py

    if not path.is_file():
        raise DataError(f"{path.name}: there is no such file; check the path.")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name}: the file is empty; copy it again or remove it.")
    try:
        return h5py.File(path, "r")
    except PermissionError as error:
        raise DataError(f"{path.name}: the file may not be read; give yourself read permission.") from error
    except _READ_ERRORS as error:
        raise DataError(
            f"{path.name}: not a readable HDF5 file (truncated, damaged or of another format); copy it again or "
            "remove it."
        ) from error


def checked_dataset(file: "h5py.File", name: str, kinds: str, ranks: tuple[int, ...]) -> "h5py.Dataset | None":
    """Return a dataset of the file's root once its declaration is known to be harmless.

    Parameters
    ----------
    file
        The open file.
    name
        The dataset's name.
    kinds
        Allowed NumPy kinds, for example ``"c"`` or ``"biuf"``.
    ranks
        Allowed numbers of dimensions.

    Returns
    -------
    h5py.Dataset or None
        The dataset, not yet read; None when the file has none of this name.

    Raises
    ------
    DataError
        If it lies elsewhere (link, external storage, virtual), has a foreign type or filter, a wrong rank, an empty or
        oversized side, or declares more data than the file can hold.
    """
    import h5py

    where = f"{Path(file.filename).name}: '{name}'"
    try:
        link = file.get(name, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{where} is a link to somewhere else; store the data in the file itself.")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise DataError(f"{where} is no dataset; write it as an array.")
        if dataset.external:
            raise DataError(f"{where} keeps its data in another file; store them in the file itself.")
        if dataset.is_virtual:
            raise DataError(f"{where} is a virtual dataset, put together from others; store the data themselves.")
        _check_type(dataset, where, kinds)
        _check_filters(dataset, where)
        _check_size(dataset, where, ranks)
    except _READ_ERRORS as error:
        raise DataError(f"{where} cannot be opened, the file is damaged; copy it again or remove it.") from error
    return dataset


def read_near(dataset: "h5py.Dataset", index: int, recent: RecentArrays, file: object) -> np.ndarray:
    """Read one entry along the first axis; those that are packed in the same chunks are kept for the next time.

    Parameters
    ----------
    dataset, index
        As for :func:`read`, which this is where chunks hold one entry, or more than is kept.
    recent
        What is kept.
    file
        What the file is known by there: another one when it has changed.
    """
    together = dataset.chunks[0] if dataset.chunks else 1
    entry = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
    if together == 1 or together * entry > recent.budget_bytes or not 0 <= index < dataset.shape[0]:
        return read(dataset, index)
    first = index - index % together
    count = min(together, dataset.shape[0] - first)
    return recent.get((file, dataset.name, first), lambda: read(dataset, first, count))[index - first].copy()


def read(dataset: "h5py.Dataset", index: int | tuple[int, ...] | None = None, count: int | None = None) -> np.ndarray:
    """Read a checked dataset, or entries along its first axis or axes.

    Parameters
    ----------
    dataset
        From :func:`checked_dataset`.
    index
        Entry along the first axis, or along as many as there are numbers; None reads everything.
    count
        Read so many entries from there, along the first axis; None reads one, without its axes.

    Returns
    -------
    np.ndarray
        A fresh C-ordered array of the dataset's dtype in native byte order.

    Raises
    ------
    DataError
        If the data are too large to read at once, or damaged.
    """
    import h5py

    place = index if isinstance(index, tuple) else () if index is None else (index,)
    shape = dataset.shape[len(place) :] if count is None else (count, *dataset.shape[1:])
    size = math.prod(shape) * dataset.dtype.itemsize
    if size > MAX_READ_BYTES:
        raise DataError(f"{_where(dataset)} asks for {size / 2**30:.1f} GiB in one piece; write smaller slices.")
    if any(not 0 <= number < side for number, side in zip(place, dataset.shape, strict=False)):
        raise DataError(f"{_where(dataset)} has no entry {index}; the file has changed, start again.")
    values = np.empty(shape, dtype=dataset.dtype.newbyteorder("="))
    try:
        # Into an array of our own: plain indexing is known to leak memory with some HDF5 builds. By HDF5's own calls:
        # what h5py does around them takes as long as reading a small slice.
        if not place or not shape:
            dataset.read_direct(values, source_sel=np.s_[place or ...])
        else:
            entry = (1,) * len(place) + shape if count is None else shape
            chosen = dataset.id.get_space()
            chosen.select_hyperslab(place + (0,) * (len(entry) - len(place)), entry)
            dataset.id.read(h5py.h5s.create_simple(entry), chosen, values)
    except _READ_ERRORS as error:
        raise DataError(
            f"{_where(dataset)} cannot be read, the file is damaged; copy it again or remove it."
        ) from error
    return values


def _where(dataset: "h5py.Dataset") -> str:
    return f"{Path(dataset.file.filename).name}: '{str(dataset.name).lstrip('/')}'"


def _check_type(dataset: "h5py.Dataset", where: str, kinds: str) -> None:
    if dataset.dtype.hasobject:
        raise DataError(f"{where} has entries of variable length or references; write plain numbers.")
    if dataset.dtype.kind not in kinds:
        wanted = "complex" if "c" in kinds else "real"
        raise DataError(f"{where} holds values of type {dataset.dtype}; write {wanted} numbers.")


def _check_filters(dataset: "h5py.Dataset", where: str) -> None:
    plist = dataset.id.get_create_plist()
    for number in range(plist.get_nfilters()):
        code = plist.get_filter(number)[0]
        if code not in _FILTERS:
            known = ", ".join(_FILTERS.values())
            raise DataError(f"{where} is packed with HDF5 filter {code}; only {known} are read, so rewrite the file.")


def _check_size(dataset: "h5py.Dataset", where: str, ranks: tuple[int, ...]) -> None:
    shape = dataset.shape
    if shape is None or len(shape) not in ranks:
        wanted = " or ".join(map(str, ranks))
        found = "none" if shape is None else len(shape)
        raise DataError(f"{where} must have {wanted} dimensions, not {found}; reshape it.")
    if 0 in shape:
        raise DataError(f"{where} is empty (shape {shape}); remove the file or write it again.")
    if max(shape, default=1) > MAX_SIDE:
        raise DataError(f"{where} declares shape {shape}; no side may be longer than {MAX_SIDE}.")
    declared = int(np.prod(shape, dtype=np.int64)) * dataset.dtype.itemsize
    inflation = 1 if dataset.chunks is None else _INFLATION
    if declared > inflation * dataset.id.get_storage_size():
        raise DataError(
            f"{where} declares {declared} bytes, far more than the file holds; the file is incomplete, copy it again "
            "or remove it."
        )
    if dataset.chunks is not None and int(np.prod(dataset.chunks, dtype=np.int64)) * dataset.dtype.itemsize > (
        MAX_READ_BYTES
    ):
        raise DataError(f"{where} is stored in chunks of more than {MAX_READ_BYTES} bytes; rewrite it slice by slice.")
