"""HDF5 files kept open between reads: opening and checking one takes longer than reading a slice of it."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rsd_med.base.errors import DataError
from rsd_med.data.hdf5 import open_file

if TYPE_CHECKING:
    import h5py

MOST_OPEN = 64
"""Files kept open by one source in one process; HDF5 takes about half a MiB for each."""

Contents = TypeVar("Contents")


class OpenFiles(Generic[Contents]):
    """The files read last, open, with what was found when they were opened.

    A file is checked once each time it is opened. It is opened anew when it was replaced, resized or touched since; a
    file that has vanished is reported although its bytes could still be read. Nothing open crosses into another
    process, whether by pickling or by fork: HDF5's own state would be shared. Threads take turns.

    Parameters
    ----------
    prepare
        Called with each file when it is opened; returns its checked contents. A function of a module, so that a source
        can be sent to another process.
    limit
        How many files stay open.
    """

    def __init__(self, prepare: "Callable[[h5py.File], Contents]", limit: int = MOST_OPEN) -> None:
        self.limit = limit
        self._prepare = prepare
        self._start_empty()

    @contextmanager
    def reading(self, path: Path) -> Iterator[Contents]:
        """Yield the checked contents of ``path``, open until the block ends.

        Raises
        ------
        DataError
            If the file is missing, unreadable, or refused by ``prepare``.
        """
        if self._process != os.getpid():
            self._start_empty()  # forked: the lock may be held by a thread that does not exist here
        with self._lock:
            contents = self._contents(path)
            try:
                yield contents
            except DataError:
                self._close(path)  # what could not be read is opened anew the next time
                raise

    def _contents(self, path: Path) -> Contents:
        try:
            found = os.stat(path)
        except OSError as error:
            self._close(path)
            raise DataError(f"{path.name}: there is no such file any more; put it back, then start again.") from error
        identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        kept = self._kept.get(path)
        if kept is not None and kept[0] == identity:
            self._kept.move_to_end(path)
            return kept[2]
        self._close(path)
        while len(self._kept) >= self.limit:
            self._close(next(iter(self._kept)))
        file = open_file(path)
        try:
            contents = self._prepare(file)
        except BaseException:
            file.close()
            raise
        self._kept[path] = (identity, file, contents)
        return contents

    def _close(self, path: Path) -> None:
        kept = self._kept.pop(path, None)
        if kept is not None:
            kept[1].close()

    def _start_empty(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, tuple[tuple[int, ...], h5py.File, Contents]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the files behind."""
        return {"prepare": self._prepare, "limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start empty."""
        self.__init__(state["prepare"], state["limit"])  # type: ignore[misc]
