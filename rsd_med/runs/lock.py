"""One process at a time in a run folder."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from rsd_med.base.errors import ProtocolError

_NOT_LOCKABLE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class FolderLock:
    """An advisory lock on a folder.

    The operating system gives it back when the process ends, however it ends: there is no stale lock to remove after a
    ``kill -9``. On file systems that know no locks it does nothing.

    Parameters
    ----------
    folder
        What to lock; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / ".lock", timeout=0, thread_local=False, on_acquired=_name_holder)

    def acquire(self) -> None:
        """Lock the folder; nothing happens where it does not exist yet, or is locked by this object already.

        Raises
        ------
        ProtocolError
            If another process holds it.
        OSError
            If the folder cannot be written.
        """
        if self._lock.is_locked or not self.folder.is_dir():
            return
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ProtocolError(
                f"{self.folder}: {self._holder()} is working in this run folder; wait until it has ended, or choose "
                "another folder with --run-dir."
            ) from error
        except OSError as error:
            if error.errno not in _NOT_LOCKABLE:
                raise

    def release(self) -> None:
        """Give the folder back."""
        self._lock.release()

    def _holder(self) -> str:
        with suppress(OSError, UnicodeDecodeError):
            number = (self.folder / ".lock").read_text("ascii").strip()
            if number.isdigit():
                return f"process {number}"
        return "another process"


def _name_holder(handle: int) -> None:
    """Write into the lock who holds it: a courtesy, and a full disk must not stop what only wants to read."""
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
