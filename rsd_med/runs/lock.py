"""One process at a time in a run folder."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from rsd_med.base.errors import ProtocolError

_NOT_LOCKABLE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class FolderLock:
    """An advisory lock on a folder, held through an open file.

    The operating system gives it back when the process ends, however it ends: there is no stale lock to remove after a
    ``kill -9``. On file systems that know no locks it does nothing.

    Parameters
    ----------
    folder
        What to lock; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handle: int | None = None

    def acquire(self) -> None:
        """Lock the folder; nothing happens where it does not exist yet, or is locked by this object already.

        Raises
        ------
        ProtocolError
            If another process holds it.
        OSError
            If the folder cannot be written.
        """
        if self._handle is not None or not self.folder.is_dir():
            return
        try:
            import fcntl
        except ImportError:  # not on this operating system
            return
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 32).decode("ascii", "replace").strip()
            os.close(handle)
            if error.errno in _NOT_LOCKABLE:
                return
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise ProtocolError(
                f"{self.folder}: {who} is working in this run folder; wait until it has ended, or choose another "
                "folder with --run-dir."
            ) from error
        with suppress(OSError):  # who holds it is a courtesy; a full disk must not stop what only wants to read
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
        self._handle = handle

    def release(self) -> None:
        """Give the folder back."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            with suppress(OSError):
                os.close(handle)

    def __del__(self) -> None:
        """Give the folder back when nobody refers to this object any more."""
        self.release()
