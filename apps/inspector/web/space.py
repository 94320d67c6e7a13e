"""Room on the disk: of one session, of all together, and of the disk itself; uploads count while their bytes arrive."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rsd_med.base.errors import DataError

SESSION_BYTES = 2 << 30
"""What one session may keep."""
ALL_BYTES = 32 << 30
"""What all sessions may keep together."""
SPARE_BYTES = 512 << 20
"""What stays free of the disk."""
MOST_ARRIVING = 4
"""Files that one session sends at the same time; the page sends one after the other."""
LOOK_SECONDS = 2.0
"""How long sizes of files that are there are believed."""
PART = ".part"
"""Suffix of files that are still arriving; they are counted by what came of them."""


class Space:
    """The room below one folder, in which each session has a folder of its own.

    Parameters
    ----------
    root
        The folder.
    session_bytes, all_bytes, spare_bytes
        See the constants.
    """

    def __init__(
        self,
        root: Path,
        session_bytes: int = SESSION_BYTES,
        all_bytes: int = ALL_BYTES,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        self.root = root
        self.session_bytes, self.all_bytes, self.spare_bytes = session_bytes, all_bytes, spare_bytes
        self._arriving: Counter[Path] = Counter()
        self._uploads: Counter[Path] = Counter()
        self._sizes: dict[Path, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def used(self, folder: Path) -> int:
        """Return the bytes of a session's files, those that are arriving included."""
        return self._size(folder) + self._arriving[folder]

    def used_by_all(self) -> int:
        """Return the bytes of all sessions' files."""
        return self._size(self.root) + self._arriving.total()

    def check(self, folder: Path, more: int = 0) -> None:
        """Say so if there is no room for more bytes.

        Raises
        ------
        DataError
            With what is full and what to do.
        """
        if self.used(folder) + more > self.session_bytes:
            most = self.session_bytes / (1 << 30)
            raise DataError(f"This session's files take more than {most:.3g} GiB; end the session to empty it.")
        if self.used_by_all() + more > self.all_bytes:
            raise DataError("The files of all sessions fill their room on this server; please try again later.")
        if shutil.disk_usage(self.root).free < self.spare_bytes + more:
            raise DataError("The server's disk is nearly full; please tell whoever runs it.")

    def is_short(self) -> bool:
        """Whether what nobody needs should go: four fifths of the room are taken, or the disk is nearly full."""
        return self.used_by_all() > 0.8 * self.all_bytes or shutil.disk_usage(self.root).free < 2 * self.spare_bytes

    @contextmanager
    def arrival(self, folder: Path) -> Iterator[Callable[[int], None]]:
        """Count a file that arrives: what is yielded is called with the bytes of each piece, before it is written.

        Raises
        ------
        DataError
            When too many files arrive at once, or (from what is yielded) when there is no room for a piece.
        """
        got = 0

        def take(size: int) -> None:
            nonlocal got
            with self._lock:
                self.check(folder, size)
                self._arriving[folder] += size
                got += size

        with self._lock:
            if self._uploads[folder] >= MOST_ARRIVING:
                raise DataError(f"{MOST_ARRIVING} files are on their way already; send the others after them.")
            self._uploads[folder] += 1
        try:
            yield take
        finally:
            with self._lock:
                self._uploads[folder] -= 1
                self._arriving[folder] -= got
                for counter in (self._uploads, self._arriving):
                    if not counter[folder]:
                        del counter[folder]
                self.forget(folder)

    def forget(self, folder: Path) -> None:
        """Look anew at what a session, and all together, have: something came or went."""
        self._sizes.pop(folder, None)
        self._sizes.pop(self.root, None)

    def _size(self, folder: Path) -> int:
        now = time.monotonic()
        when, size = self._sizes.get(folder, (-LOOK_SECONDS, 0))
        if now - when >= LOOK_SECONDS:
            size = sum(map(_size_of, folder.rglob("*")))
            self._sizes[folder] = now, size
        return size


def _size_of(path: Path) -> int:
    try:
        return 0 if path.suffix == PART else path.stat().st_size
    except OSError:
        return 0
