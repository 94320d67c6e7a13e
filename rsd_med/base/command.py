"""The shell of a command: whatever goes wrong inside becomes one sentence on stderr and an exit code."""

import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from rsd_med.base.errors import DataError, RsdMedError

DEBUG_VARIABLE = "RSD_MED_DEBUG"

DONE = 0
INTERNAL_ERROR = 1
BAD_USAGE = 2
RESUMABLE = 75
BROKEN_PIPE = 141  # 128 + SIGPIPE, as shells report a program whose reader went away

_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_DISK_TEXT = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|errno = (?:27|28|122)\b|\d+ requested and \d+ written"
)
"""What the system, HDF5 and numpy say; theirs are errors without a number."""
_LARGE_FILE_TEXT = re.compile(r"File too large|errno = 27\b")
_NOT_UTF8 = re.compile(r"[^\s/'\"]*[\udc80-\udcff][^\s/'\"]*")
"""A name with bytes that are no UTF-8, as Python stands in for them."""
_OUT_OF_MEMORY = (
    "out of memory: in training, let a network see fewer images at once (--set engine.micro_batch=N, the same result); "
    "elsewhere, lower the number or the size of the images"
)
_WRONG_PATH = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR}
_WRONG_PATH |= {errno.ENAMETOOLONG, errno.ELOOP}


def program(module: str) -> str:
    """Return how the command of a module was called: ``rsd-med train``, or ``python -m rsd_med.train``."""
    if Path(sys.argv[0]).stem != "rsd-med":
        return f"python -m {module}"
    name = module.rpartition(".")[2].removeprefix("rsd_med")
    return f"rsd-med {name.lstrip('_')}".strip()


def run_command(main: Callable[[], int | None]) -> int:
    """Run the body of a command and return its exit code, never letting a traceback through.

    Exit codes: 0 done, 2 bad protocol or usage, 3 bad data, 4 diverged, 75 interrupted and resumable (a signal, a full
    disk), 1 a defect of this program. With ``RSD_MED_DEBUG=1`` in the environment the traceback is printed as well.

    Parameters
    ----------
    main
        The command without arguments; it returns an exit code, or ``None`` for 0. ``SystemExit`` (argparse's way out
        of ``--help`` and of wrong arguments) passes through.
    """
    _open_closed_streams()
    try:
        with _ended_by_signals():
            code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _say("interrupted; run the same command again to go on", RESUMABLE, prefix="")
    except BrokenPipeError:
        # Whoever read our output (head, a pager) has gone. Python would complain once more while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
            traceback.print_exc()
        return _say(*explain(error))
    return DONE if code is None else code


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a request to end raise as Ctrl-C does, so that what is half written is taken away.

    What is ignored already stays ignored (``nohup``), and commands that have something to save listen for themselves.
    """
    listening = threading.current_thread() is threading.main_thread()
    asked = [signal.SIGTERM, signal.SIGHUP] if listening else []
    ours = [number for number in asked if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is _interrupt:
                signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Shell and kernel each say that a terminal has gone: the second time must not disturb the tidying up.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(sentence: str, code: int, prefix: str = "error: ") -> int:
    """Print one sentence on stderr and return the exit code, which stays what it is where nobody can be told."""
    with suppress(OSError):
        print(f"{prefix}{sentence}", file=sys.stderr)
    return code


def _open_closed_streams() -> None:
    """Give a process without standard streams (a daemon's) empty ones.

    Else the first file it opens would be number 1 or 2, and what a library says would be written into it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def explain(error: Exception) -> tuple[str, int]:
    """Return the sentence and the exit code of an error."""
    if isinstance(error, RsdMedError):
        return str(error), error.exit_code
    if _is_full_disk(error):
        # Of a copy the first name is that of the file that was read.
        written = (error.filename2 or error.filename) if isinstance(error, OSError) else None
        where = f" while writing {written}" if written else ""
        if any(_is_large_file(link) for link in _chain(error)):
            return (
                f"a file was larger than may be written{where}: raise the limit (ulimit -f), or choose a file system "
                "that holds large files, then run the same command again"
            ), RESUMABLE
        return f"no space left on the disk{where}: free some space, then run the same command again", RESUMABLE
    if _is_out_of_memory(error):
        return _OUT_OF_MEMORY, INTERNAL_ERROR
    if isinstance(error, OSError):
        return _explain_os_error(error)
    if isinstance(error, UnicodeEncodeError) and (name := _NOT_UTF8.search(error.object)):
        shown = os.fsencode(name[0]).decode("utf-8", "backslashreplace")
        return f"the name {shown} is not UTF-8: rename the file or folder", DataError.exit_code
    detail = " ".join(str(error).split()) or "no message"
    return (
        f"internal error: {type(error).__name__}: {detail}; run again with {DEBUG_VARIABLE}=1 for the traceback",
        INTERNAL_ERROR,
    )


def _explain_os_error(error: OSError) -> tuple[str, int]:
    """Turn what the operating system refused into a sentence: a path that cannot be used is the caller's to mend."""
    reason = (error.strerror or " ".join(str(error).split()) or type(error).__name__).lower()
    sentence = f"{error.filename}: {reason}" if error.filename else f"the system refused: {reason}"
    return sentence, BAD_USAGE if error.errno in _WRONG_PATH else INTERNAL_ERROR


def _is_full_disk(error: BaseException) -> bool:
    """Whether a full disk is behind an error: HDF5, torch and safetensors wrap the system's error in their own."""
    return any(
        getattr(link, "errno", None) in _FULL_DISK or _FULL_DISK_TEXT.search(str(link)) is not None
        for link in _chain(error)
    )


def _is_large_file(error: BaseException) -> bool:
    return getattr(error, "errno", None) == errno.EFBIG or _LARGE_FILE_TEXT.search(str(error)) is not None


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on the host or on an accelerator (recognised by name: torch stays unimported here)."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those it came from."""
    link: BaseException | None = error
    visited: set[int] = set()
    while link is not None and id(link) not in visited:
        visited.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
