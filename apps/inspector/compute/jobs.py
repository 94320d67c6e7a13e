"""One queue for all computing: users take turns, a cancelled job frees the worker, a dead worker is replaced.

The work is done in one other process (two cores have room for one), so that pages and slices are served while it
computes, and so that whatever happens to it (out of memory, a crash in a library) costs one job and not the server.
"""

import contextlib
import itertools
import multiprocessing
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from rsd_med.base.errors import DataError

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Serve = Callable[[Connection], None]
"""What the worker process runs; see ``worker.serve``."""

MOST_WAITING = 8
"""Jobs that one user may have in the queue."""
GRACE_SECONDS = 3.0
"""A cancelled job that has not stopped by then is stopped with its process."""
LONGEST_SECONDS = 900.0

DIED = (
    "The computing process ended unexpectedly, perhaps for want of memory. It has been started again: please try once "
    "more, with a smaller image or fewer samples if it happens again."
)
TOO_LONG = "This took longer than 15 minutes and was stopped; ask for fewer samples or a faster method."


@dataclass
class Job:
    """One request for computation.

    Attributes
    ----------
    owner
        Whose turn it takes.
    page
        Which of the owner's pages asked for it; "" for none in particular.
    task, arguments
        What to do; the worker knows the tasks by name.
    state, progress
        How far it is; progress from 0 to 1.
    result
        What the task returned, once done.
    error
        One sentence, once failed.
    started
        ``time.monotonic`` at its start; None while it waits.
    """

    owner: str
    task: str
    arguments: dict[str, Any]
    number: int = 0
    page: str = ""
    state: State = "waiting"
    progress: float = 0.0
    result: Any = None
    error: str = ""
    started: float | None = None
    cancel_wanted: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self._ended.is_set()

    @property
    def seconds_left(self) -> float | None:
        """Estimate the seconds left from the progress so far; None while there is nothing to go by."""
        if self.started is None or self.progress < 0.02:
            return None
        return (time.monotonic() - self.started) * (1 - self.progress) / self.progress

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end; return whether it came."""
        return self._ended.wait(seconds)

    def end(self, state: State, *, result: Any = None, error: str = "") -> None:
        """Record how it ended."""
        self.state, self.result, self.error = state, result, error
        if state == "done":
            self.progress = 1.0
        self._ended.set()


class JobQueue:
    """Jobs of all users, done one at a time, the users in turns.

    Parameters
    ----------
    serve
        Function of the worker process; must be importable by name.
    arguments
        Its further arguments.
    """

    def __init__(self, serve: Callable[..., None], arguments: tuple[Any, ...] = ()) -> None:
        self._serve, self._arguments = serve, arguments
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self._closed = False
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self.running: Job | None = None
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Start the worker and begin to take jobs."""
        self._start_worker()
        self._thread.start()

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id."""
        return None if self._process is None else self._process.pid

    def submit(self, owner: str, task: str, *, page: str = "", **arguments: Any) -> Job:
        """Put a job into the queue.

        Raises
        ------
        DataError
            When the owner has too many there already, or the server is going down.
        """
        job = Job(owner, task, arguments, number=next(self._numbers), page=page)
        with self._changed:
            if self._closed:
                raise DataError("The server is being stopped.")
            own = self._waiting.setdefault(owner, deque())
            if len(own) >= MOST_WAITING:
                raise DataError(f"You have {MOST_WAITING} requests waiting already; let one finish, or cancel it.")
            own.append(job)
            self._changed.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Stop a job, waiting or running."""
        with self._changed:
            job.cancel_wanted = True
            own = self._waiting.get(job.owner)
            if own is not None and job in own:
                own.remove(job)
                job.end("cancelled")
            self._changed.notify_all()

    def cancel_all(self, owner: str, page: str | None = None) -> list[Job]:
        """Stop all that an owner asked for, or one page of it; return what that is: it may not have stopped yet."""
        with self._changed:
            jobs = list(self._waiting.get(owner, ()))
            if self.running is not None and self.running.owner == owner:
                jobs.append(self.running)
        if page is not None:
            jobs = [job for job in jobs if job.page == page]
        for job in jobs:
            self.cancel(job)
        return jobs

    def ahead_of(self, job: Job) -> int:
        """Count the jobs that are done before a waiting one, if nobody comes or goes."""
        with self._changed:
            if job.state != "waiting":
                return 0
            ahead = 0 if self.running is None else 1
            for number in itertools.count():
                for owner, own in self._waiting.items():
                    if number < len(own):
                        if own[number] is job:
                            return ahead
                        ahead += 1
                    elif owner == job.owner:
                        return ahead
        return ahead

    def close(self) -> None:
        """Stop everything."""
        with self._changed:
            self._closed = True
            for own in self._waiting.values():
                for job in own:
                    job.end("cancelled")
            self._waiting.clear()
            if self.running is not None:
                self.running.cancel_wanted = True
            self._changed.notify_all()
        self._stop_worker()
        if self._thread.is_alive():
            self._thread.join(5)

    def _next(self) -> Job | None:
        """Take the next job: the users in turns, each user's jobs in order."""
        with self._changed:
            while not self._closed:
                for owner in list(self._waiting):
                    own = self._waiting.pop(owner)
                    if not own:
                        continue
                    job = own.popleft()
                    if own:
                        self._waiting[owner] = own  # behind everybody else
                    self.running = job
                    return job
                self._changed.wait()
        return None

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._do(job)
            except Exception as error:  # the thread must outlive everything: without it nobody is served
                job.end("failed", error=f"This could not be computed ({type(error).__name__}); please try again.")
            finally:
                self.running = None
            if self._process is None and not self._closed:
                with contextlib.suppress(OSError):  # no room for a process now: the next job tries again
                    self._start_worker()  # at once, so that the next user need not wait for its imports

    def _do(self, job: Job) -> None:
        job.state, job.started = "running", time.monotonic()
        for attempt in (1, 2):
            if self._process is None or not self._process.is_alive():
                self._start_worker()
            try:
                self._send((job.number, job.task, job.arguments))
                break
            except OSError:
                # It died between two jobs; nothing of this one has happened yet.
                self._stop_worker()
                if attempt == 2:
                    job.end("failed", error=DIED)
                    return
        self._follow(job)

    def _follow(self, job: Job) -> None:
        """Wait for a running job's end, whichever it is."""
        started, cancel_sent = time.monotonic(), None
        while True:
            if job.cancel_wanted and cancel_sent is None:
                cancel_sent = time.monotonic()
                with contextlib.suppress(OSError):
                    self._send((job.number, "cancel", {}))
            now = time.monotonic()
            if (cancel_sent is not None and now - cancel_sent > GRACE_SECONDS) or self._closed:
                self._stop_worker()
                job.end("cancelled")
                return
            if now - started > LONGEST_SECONDS:
                self._stop_worker()
                job.end("failed", error=TOO_LONG)
                return
            try:
                message = self._receive(0.05)
            except (EOFError, OSError):
                self._stop_worker()
                if job.cancel_wanted:
                    job.end("cancelled")
                else:
                    job.end("failed", error=DIED)
                return
            if message is None or message[0] != job.number:
                continue
            _, kind, content = message
            if kind == "progress":
                job.progress = max(job.progress, min(1.0, float(content)))
            else:
                job.end(kind, result=content if kind == "done" else None, error=content if kind == "failed" else "")
                return

    def _send(self, message: tuple[Any, ...]) -> None:
        if self._pipe is None:
            raise BrokenPipeError
        self._pipe.send(message)

    def _receive(self, seconds: float) -> Any:
        if self._pipe is None:
            raise EOFError
        return self._pipe.recv() if self._pipe.poll(seconds) else None

    def _start_worker(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=self._serve, args=(theirs, *self._arguments), name="inspector-worker", daemon=True
        )
        self._process.start()
        theirs.close()

    def _stop_worker(self) -> None:
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.kill()
            process.join(5)
