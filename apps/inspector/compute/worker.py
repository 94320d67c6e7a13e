"""The process that computes: it takes jobs from a pipe, reports progress, and stops when told to."""

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

Task = Callable[..., Any]
"""Called with ``progress`` and the job's arguments by name; what it returns must be plain data and arrays."""


class Cancelled(BaseException):
    """Raised inside a task by ``progress`` when its job was cancelled; no ``except Exception`` holds it up."""


def serve(pipe: Connection, tasks: dict[str, Task]) -> None:
    """Do jobs until the pipe closes.

    Messages in are ``(number, task, arguments)``, with the task ``cancel`` to stop the job of that number; messages
    out are ``(number, "progress", fraction)``, ``(number, "done", result)``, ``(number, "failed", sentence)`` and
    ``(number, "cancelled", None)``.
    """
    jobs: queue.Queue[tuple[int, str, dict[str, Any]] | None] = queue.Queue()
    cancelled: set[int] = set()

    def listen() -> None:
        while True:
            try:
                number, task, arguments = pipe.recv()
            except (EOFError, OSError):
                # The server is gone; whatever is being computed has nobody to go to.
                os._exit(0)
            if task == "cancel":
                cancelled.add(number)
            else:
                jobs.put((number, task, arguments))

    threading.Thread(target=listen, daemon=True).start()
    while (job := jobs.get()) is not None:
        number, name, arguments = job

        def progress(fraction: float, number: int = number) -> None:
            if number in cancelled:
                raise Cancelled
            pipe.send((number, "progress", fraction))

        try:
            outcome = ("done", tasks[name](progress=progress, **arguments))
        except Cancelled:
            outcome = ("cancelled", None)
        except Exception as error:
            outcome = ("failed", explain(error))
        with contextlib.suppress(OSError):
            pipe.send((number, *outcome))


def explain(error: Exception) -> str:
    """Say what went wrong in one sentence, without anything of the machine or of the patient."""
    from rsd_med.base.errors import RsdMedError

    if isinstance(error, RsdMedError):
        return str(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "There is not enough memory for this; choose a smaller image or fewer samples."
    return f"This could not be computed ({type(error).__name__}); please report it if it happens again."
