"""The acquisitions of an ISMRMRD file: an index of their headers, and the samples of one at a time.

ISMRMRD keeps every readout in a variable-length field, for which HDF5 allocates whatever length the file declares
before it looks whether the data are there. So the table is parsed here, from the bytes of its records, and every
length is held against the header and the size of the file before HDF5 is asked for the samples.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsd_med.base.errors import DataError
from rsd_med.data.ismrmrd_acquisitions import (
    INDEX,
    MAX_ACQUISITIONS,
    entries_of,
    has_numbers,
    line_of,
    positions_of,
    require_positions,
    require_sizes,
)

if TYPE_CHECKING:
    import h5py

_BLOCK = 1 << 14  # records parsed at once
_READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError, OverflowError)


def groups_of(file: "h5py.File") -> "list[h5py.Group]":
    """Return the groups with acquisitions, one a measurement: ``dataset`` first, then others with ``data`` and ``xml``.

    Converters number them (``dataset_1``, ``dataset_2``, …), and that is their order.

    Raises
    ------
    DataError
        If what is called ``dataset`` is a link to somewhere else.
    """
    import h5py

    where = Path(file.filename).name
    groups = []
    try:
        for name in sorted(file.keys(), key=_counted)[:1000]:
            link = file.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                if name == "dataset":
                    raise DataError(
                        f"{where}: 'dataset' is a link to somewhere else; store the data in the file itself."
                    )
                continue
            group = file[name]
            if isinstance(group, h5py.Group) and "data" in group.keys() and "xml" in group.keys():  # noqa: SIM118
                groups.append(group)
    except _READ_ERRORS as error:
        raise DataError(f"{where}: the file's table of contents is damaged; copy it again or remove it.") from error
    return groups


def _counted(name: str) -> tuple[bool, str, int]:
    """Sort ``dataset`` first, and ``dataset_2`` before ``dataset_10``."""
    stem = name.rstrip("0123456789")
    return name != "dataset", stem, int(name[len(stem) :][:9] or 0)


def table_of(group: "h5py.Group") -> "h5py.Dataset":
    """Return the table of acquisitions once its declaration is known to be harmless.

    Raises
    ------
    DataError
        If it lies elsewhere, is packed, or is no table of acquisitions.
    """
    import h5py

    where = _where(group)
    try:
        if not isinstance(group.get("data", getlink=True), h5py.HardLink):
            raise DataError(f"{where} is a link to somewhere else; store the data in the file itself.")
        table = group["data"]
        if not isinstance(table, h5py.Dataset) or table.dtype.names is None or table.ndim != 1:
            raise DataError(f"{where} is no table of acquisitions; is it an ISMRMRD file?")
        if table.external:
            raise DataError(f"{where} keeps its data in another file; store them in the file itself.")
        if table.is_virtual:
            raise DataError(f"{where} is a virtual dataset, put together from others; store the data themselves.")
        if table.id.get_create_plist().get_nfilters():
            raise DataError(f"{where} is packed with a filter, which saves nothing here; write it without.")
        if table.file.userblock_size:
            raise DataError(f"{where} stands behind a user block; write the file without one.")
        if not 0 < len(table) <= MAX_ACQUISITIONS:
            raise DataError(f"{where} declares {len(table)} acquisitions; 1 to {MAX_ACQUISITIONS} are read.")
        kind = table.id.get_type()
        names = [kind.get_member_name(number).decode("ascii", "replace") for number in range(kind.get_nmembers())]
        if not _is_list(kind, names, "data"):
            raise DataError(f"{where} has no samples in single precision; is it an ISMRMRD file?")
        if "head" not in names or not has_numbers(table.dtype["head"]):
            raise DataError(f"{where} has no acquisition headers of version 1; is it an ISMRMRD file?")
    except _READ_ERRORS as error:
        raise DataError(f"{where} cannot be opened, the file is damaged; copy it again or remove it.") from error
    return table


def read_index(table: "h5py.Dataset") -> np.ndarray:
    """Read the headers of all acquisitions, and hold the lengths of their data against them.

    Parameters
    ----------
    table
        From :func:`table_of`.

    Returns
    -------
    numpy.ndarray
        :data:`INDEX`, one entry an acquisition, in the order of the file.

    Raises
    ------
    DataError
        If the file is shorter than the table says, or an acquisition contradicts itself.
    """
    where = _where(table.parent)
    try:
        kind = table.id.get_type()
        names = [kind.get_member_name(number).decode("ascii", "replace") for number in range(kind.get_nmembers())]
        head_at, data_at = (kind.get_member_offset(names.index(name)) for name in ("head", "data"))
        traj_at = kind.get_member_offset(names.index("traj")) if _is_list(kind, names, "traj") else None
        head_type = kind.get_member_type(names.index("head")).dtype
        path = Path(table.file.filename)
        index = np.zeros(len(table), INDEX)
        seen = np.zeros(len(table), bool)
        with path.open("rb") as raw:
            size = path.stat().st_size
            for numbers, records in _records(table, raw, kind.get_size(), size):
                head = np.ascontiguousarray(records[:, head_at : head_at + head_type.itemsize]).view(head_type)[:, 0]
                entries = entries_of(head, numbers)
                _check_lengths(entries, _lengths(records, data_at), size, where)
                if traj_at is not None:
                    entries["positions"] = _lengths(records, traj_at)
                index[numbers] = entries
                seen[numbers] = True
    except _READ_ERRORS as error:
        raise DataError(f"{where} cannot be read, the file is damaged; copy it again or remove it.") from error
    if not seen.all():
        raise DataError(f"{where} declares more acquisitions than the file holds; it is incomplete, copy it again.")
    return index


class StoredAcquisitions:
    """The samples of an open file's acquisitions.

    Parameters
    ----------
    table
        From :func:`table_of`; its file stays open as long as this is used.
    """

    def __init__(self, table: "h5py.Dataset") -> None:
        self._table = table
        self.where = _where(table.parent)

    def samples(self, entry: np.void) -> np.ndarray:
        """Read one acquisition, complex64 (coil, samples); DataError if it is damaged, or NaN or infinite."""
        return line_of(
            self._list("data", entry, 2 * int(entry["active_channels"]) * int(entry["number_of_samples"])),
            entry,
            self.where,
        )

    def positions(self, entry: np.void) -> np.ndarray:
        """Read where its samples lie, float32 (samples, dimensions); DataError if the file does not say."""
        require_positions(entry, self.where)
        return positions_of(self._list("traj", entry, int(entry["positions"])), entry)

    def _list(self, member: str, entry: np.void, size: int) -> np.ndarray:
        number = int(entry["record"])
        try:
            values = np.asarray(self._table.fields(member)[number], dtype=np.float32)
        except _READ_ERRORS as error:
            raise DataError(
                f"{self.where}: acquisition {number} is damaged; copy the file again or remove it."
            ) from error
        if values.size != size:
            raise DataError(f"{self.where}: the file has changed since it was indexed; start again.")
        return values


def _where(group: "h5py.Group") -> str:
    return f"{Path(group.file.filename).name}: '{str(group.name).lstrip('/')}/data'"


def _records(table: "h5py.Dataset", raw: Any, width: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (numbers of the records, uint8 (records, width)), some at a time, as far as they are stored."""
    runs: list[tuple[int, int, int]] = []  # first record, place in the file, records
    if table.chunks is None:
        offset = table.id.get_offset()
        if offset is not None:
            runs = [(n, offset + n * width, min(_BLOCK, len(table) - n)) for n in range(0, len(table), _BLOCK)]
    else:
        length = table.chunks[0]
        table.id.chunk_iter(
            lambda chunk: runs.append(
                (chunk.chunk_offset[0], chunk.byte_offset, min(length, len(table) - chunk.chunk_offset[0]))
            )
        )
    # ISMRMRD's own library stores every record as a chunk: they are gathered, so that each block is parsed at once.
    numbers: list[np.ndarray] = []
    gathered: list[bytes] = []
    waiting = 0
    for position, (first, offset, count) in enumerate(runs):
        if count <= 0 or first < 0 or offset < 0 or offset + count * width > size:
            raise ValueError("records outside of the file")
        for start in range(0, count, _BLOCK):
            some = min(_BLOCK, count - start)
            raw.seek(offset + start * width)
            gathered.append(raw.read(some * width))
            numbers.append(np.arange(first + start, first + start + some))
            waiting += some
            last = position == len(runs) - 1 and start + some == count
            if last or waiting >= _BLOCK:
                yield np.concatenate(numbers), np.frombuffer(b"".join(gathered), np.uint8).reshape(-1, width)
                numbers, gathered, waiting = [], [], 0


def _is_list(kind: Any, names: list[str], name: str) -> bool:
    """Whether a member of the table is a list of numbers in single precision."""
    import h5py

    if name not in names or kind.get_member_class(names.index(name)) != h5py.h5t.VLEN:
        return False
    return bool(kind.get_member_type(names.index(name)).get_super().dtype == np.dtype("<f4"))


def _lengths(records: np.ndarray, place: int) -> np.ndarray:
    """Return the lengths that a list of each record declares."""
    return np.ascontiguousarray(records[:, place : place + 4]).view("<u4")[:, 0].astype(np.int64)


def _check_lengths(entries: np.ndarray, floats: np.ndarray, size: int, where: str) -> None:
    samples, coils = entries["number_of_samples"].astype(np.int64), entries["active_channels"].astype(np.int64)
    discarded = entries["discard_pre"] + entries["discard_post"]
    wrong = (floats != 2 * samples * coils) | (4 * floats > size) | (discarded > samples)
    if wrong.any():
        number = int(entries["record"][np.argmax(wrong)])
        raise DataError(
            f"{where}: acquisition {number} declares another amount of data than its header; the file is damaged, copy "
            "it again or remove it."
        )
    require_sizes(entries, where)
