"""A child process with little memory, time and disk, in which uploads are opened; its answer is JSON, and not trusted.

A file may be made to exhaust memory or to break the HDF5 library: then a child dies, and the user reads a sentence.
"""

import contextlib
import errno
import json
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rsd_med.base.errors import DataError

MEMORY_BYTES = 3 << 30
CPU_SECONDS = 60
WALL_SECONDS = 120.0
DISK_BYTES = 1 << 30
MOST_ANSWER = 1 << 20
MOST_NOTICES = 10
AT_ONCE = threading.Semaphore(2)
Task = Callable[[Path, Path, int | None], dict[str, Any]]
"""Reads a file, or one item of it, writes arrays to another, and says in plain values what it read."""

_PRELOADED = [
    "torch",
    "h5py",
    "nibabel",
    "rsd_med.data.opening",
    *(
        f"rsd_med.data.{name}"
        for name in ("dicom", "nifti", "arrays", "fastmri_hdf5", "ismrmrd", "raw_arrays", "matlab")
    ),
    "rsd_med.data.orientation",
    "rsd_med.calibration.noncartesian",
    "numpy.ma",  # percentiles
    f"{__package__}.parsing",
]
"""What a child needs to show a picture: it begins with all of it, where importing took most of a second."""
_ready = threading.Lock()
_started = False


def get_ready() -> None:
    """Start the process that children are forked from, so that nobody's first file waits for its imports."""
    from multiprocessing import forkserver

    _context()
    forkserver.ensure_running()


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    with _ready:
        global _started
        if not _started:
            # No plug-ins for filters: HDF5 would load code named by the file.
            os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
            context.set_forkserver_preload(_PRELOADED)
            _started = True
    return context


def in_child(task: Task, path: Path, out: Path, index: int | None) -> dict[str, Any]:
    """Run a task in a child process; return its answer.

    Raises
    ------
    DataError
        When the task raises it, breaks in any other way, or exceeds a limit; ``out`` is removed then.
    """
    context = _context()
    with AT_ONCE:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(theirs, task, str(path), str(out), index), daemon=True)
        child.start()
        theirs.close()
        answer, ended, in_time = None, None, True
        try:
            in_time = ours.poll(WALL_SECONDS)
            answer = json.loads(ours.recv_bytes(MOST_ANSWER)) if in_time else None
        except (EOFError, OSError, ValueError):
            pass
        finally:
            ours.close()
            child.join(1)
            ended = child.exitcode
            child.kill()
            child.join(5)
    if not isinstance(answer, dict):
        out.unlink(missing_ok=True)
        raise DataError(_why_no_answer(in_time, ended))
    if "error" in answer:
        out.unlink(missing_ok=True)
        raise DataError(str(answer["error"]))
    return answer


def _child(pipe: Connection, task: Task, path: str, out: str, index: int | None) -> None:
    """Run in the child: read, write arrays, answer."""
    _limit()
    notices = _Notices()
    logging.getLogger("rsd_med").addHandler(notices)
    try:
        answer = task(Path(path), Path(out), index)
        said = [_without_name(sentence, Path(path), Path(out)) for sentence in notices.sentences[:MOST_NOTICES]]
        answer |= {"notices": said}
    except DataError as error:
        answer = {"error": _without_name(str(error), Path(path), Path(out))}
    except MemoryError:
        answer = {"error": _too_much(f"{MEMORY_BYTES >> 30} GiB of memory")}
    except Exception as error:  # a library's own words may quote the file
        answer = {
            "error": f"This file could not be read ({type(error).__name__}); it is damaged, or of a kind unknown."
        }
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            answer = {"error": _too_much(f"{DISK_BYTES >> 30} GiB on the disk")}
    with contextlib.suppress(OSError):
        pipe.send_bytes(json.dumps(answer).encode())


class _Notices(logging.Handler):
    """Keeps what a reader says beside what it reads: what was left out, guessed or assumed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(record.getMessage())


def alone_path(out: Path) -> Path:
    """Return where one image alone is put as an array of one, to be read like any other."""
    return out.with_name(f"{out.stem}-image.npy")


def _without_name(sentence: str, path: Path, out: Path) -> str:
    """Return a reader's sentence without the name that the file has here, which its owner never gave it."""
    for name in (path.name, alone_path(out).name):
        sentence = sentence.replace(f"{name}: the file", "The file").replace(f"{name}: ", "")
        sentence = sentence.replace(f" in {name}", " in the file that was sent").replace(name, "that was sent")
    return sentence[:1].upper() + sentence[1:]


def _too_much(what: str) -> str:
    return (
        f"Reading this file takes more than {what}, the most that this app allows for a file; the limit says nothing "
        "against the file. Cut it into smaller ones, or use the commands, which have no such limit."
    )


def _why_no_answer(in_time: bool, ended: int | None) -> str:
    """Return what to say when a child has not answered.

    Parameters
    ----------
    in_time
        Whether it spoke, or ended, before its time by the clock was over.
    ended
        Its exit code: minus the number of the signal that ended it.
    """
    if not in_time:
        return _too_much(f"{WALL_SECONDS:.0f} s")
    if ended == -signal.SIGXCPU:
        return _too_much(f"{CPU_SECONDS} s of one processor")
    return (
        f"The program that reads this file was ended by it (code {ended}): the file is damaged, or the machine has no "
        "memory left."
    )


def _limit() -> None:
    import resource

    def lower(what: int, most: int, reserve: int = 0) -> None:
        _, hard = resource.getrlimit(what)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (value, value + reserve if reserve and hard == resource.RLIM_INFINITY else value))

    # Address space holds the libraries as well; what a file can make us allocate is data.
    lower(resource.RLIMIT_DATA, MEMORY_BYTES)
    lower(resource.RLIMIT_CPU, CPU_SECONDS, reserve=1)  # first a signal that says why, then the end
    lower(resource.RLIMIT_FSIZE, DISK_BYTES)
    lower(resource.RLIMIT_NOFILE, 128)
    lower(resource.RLIMIT_CORE, 0)
