"""HDF5 files that are whole or not there, on full disks too."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rsd_med.base.files import written_aside

if TYPE_CHECKING:
    import h5py


@contextmanager
def written_hdf5(path: Path) -> "Iterator[h5py.File]":
    """Give an HDF5 file to write to, which takes its name when the block ends well; see `written_aside`.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written; nothing half-written stays.
    """
    import h5py

    with written_aside(path) as side, _Refusals(side) as raw:
        try:
            with h5py.File(raw, "w") as file:
                yield file
        finally:
            if raw.refusal is not None:
                raise raw.refusal


class _Refusals(io.FileIO):
    """A file that takes every write and keeps the first refusal of the system.

    HDF5 cannot close a file that it cannot write: it tries again when the process ends, and crashes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.refusal: OSError | None = None

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        """Write all, or nothing after a refusal."""
        left = memoryview(data)
        try:
            while self.refusal is None and len(left):
                left = left[super().write(left) :]
        except OSError as error:
            self.refusal = error
        return len(data)
