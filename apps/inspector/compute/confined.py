"""A child process with little memory, time and disk, in which uploads are opened; its answer is JSON, and not trusted.

A file may be made to exhaust memory or to break the HDF5 library: then a child dies, and the user reads a sentence.
"""

import contextlib
import json
import multiprocessing
import os
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
AT_ONCE = threading.Semaphore(2)
Task = Callable[[Path, Path, int | None], dict[str, Any]]
"""Reads a file, or one item of it, writes arrays to another, and says in plain values what it read."""

TOO_MUCH = (
    "This file could not be read within the limits of memory and time; it is damaged, or far larger than what it "
    "claims to hold."
)
_PRELOADED = ["torch", "h5py", "nibabel", "rsd_med.data.opening"]
_ready = threading.Lock()
_started = False


def in_child(task: Task, path: Path, out: Path, index: int | None) -> dict[str, Any]:
    """Run a task in a child process; return its answer.

    Raises
    ------
    DataError
        When the task raises it, breaks in any other way, or exceeds a limit; ``out`` is removed then.
    """
    context = multiprocessing.get_context("forkserver")
    with _ready:
        global _started
        if not _started:
            # No plug-ins for filters: HDF5 would load code named by the file.
            os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
            context.set_forkserver_preload(_PRELOADED)
            _started = True
    with AT_ONCE:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(theirs, task, str(path), str(out), index), daemon=True)
        child.start()
        theirs.close()
        try:
            answer = json.loads(ours.recv_bytes(MOST_ANSWER)) if ours.poll(WALL_SECONDS) else None
        except (EOFError, OSError, ValueError):
            answer = None
        finally:
            ours.close()
            child.join(1)
            child.kill()
            child.join(5)
    if not isinstance(answer, dict):
        out.unlink(missing_ok=True)
        raise DataError(TOO_MUCH)
    if "error" in answer:
        out.unlink(missing_ok=True)
        raise DataError(str(answer["error"]))
    return answer


def _child(pipe: Connection, task: Task, path: str, out: str, index: int | None) -> None:
    """Run in the child: read, write arrays, answer."""
    _limit()
    try:
        answer = task(Path(path), Path(out), index)
    except DataError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": TOO_MUCH}
    except Exception as error:  # a library's own words may quote the file
        answer = {
            "error": f"This file could not be read ({type(error).__name__}); it is damaged, or of a kind unknown."
        }
    with contextlib.suppress(OSError):
        pipe.send_bytes(json.dumps(answer).encode())


def _limit() -> None:
    import resource

    def lower(what: int, most: int) -> None:
        _, hard = resource.getrlimit(what)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (value, value))

    # Address space holds the libraries as well; what a file can make us allocate is data.
    lower(resource.RLIMIT_DATA, MEMORY_BYTES)
    lower(resource.RLIMIT_CPU, CPU_SECONDS)
    lower(resource.RLIMIT_FSIZE, DISK_BYTES)
    lower(resource.RLIMIT_NOFILE, 128)
    lower(resource.RLIMIT_CORE, 0)
