"""What every tab needs: the sessions, the queue, and how a job's progress is told."""

import asyncio
import html
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from rsd_med.base.errors import DataError

from ..compute.jobs import Job, JobQueue
from ..web.session import Session, SessionStore

QUICK_SECONDS = 0.4
"""What is over by then is told by its result alone."""
LOST = "This page has no session any more (it was left alone for too long, or ended); reload it."


@dataclass
class Desk:
    """The app's shared parts.

    Attributes
    ----------
    store, queue
        Sessions and computing.
    first
        The reading of the first held-out case, which everybody sees first; None where nobody has asked for it.
    """

    store: SessionStore
    queue: JobQueue
    first: Job | None = None

    def prepare(self, demo: bool) -> None:
        """Let the first case be read before anybody comes, and reconstructed if it is the demo model's.

        Of a run of somebody's own that might take minutes, for which all would have to wait.
        """
        self.first = self.queue.submit("welcome", "read", scan=0, acceleration=None)
        for number in range(2 if demo else 0):
            self.queue.submit("welcome", "welcome", number=number)

    async def first_case(self, session: Session) -> dict[str, Any]:
        """Return what was read of the first held-out case; DataError when the run has none."""
        if self.first is not None:
            while not self.first.over:
                await asyncio.sleep(0.02)
            if self.first.state == "done":
                return dict(self.first.result)
        return dict(await self.run(session, "read", scan=0, acceleration=None))

    def session(self, request: Any) -> Session:
        """Return the session behind a Gradio request.

        Raises
        ------
        DataError
            When there is none.
        """
        session = self.store.find(request.cookies.get(self.store.cookie))
        if session is None:
            raise DataError(LOST)
        return session

    async def run(self, session: Session, task: str, *, page: str = "", **arguments: Any) -> Any:
        """Do a job and return its result; DataError with its sentence when it fails."""
        async for job in self.follow(session, task, page=page, **arguments):
            if job.over:
                return result_of(job)
        raise DataError(LOST)

    async def follow(
        self, session: Session, task: str, *, page: str = "", **arguments: Any
    ) -> AsyncGenerator[Job, None]:
        """Do a job, and hand it out whenever there is something to tell; at its end for the last time.

        A page that goes away stops its job. ``page`` names the one that may cancel it; see `cancel`.
        """
        job = self.queue.submit(session.name, task, page=page, **arguments)
        try:
            last_news, begun = None, time.monotonic()
            while not job.over:
                waited = time.monotonic() - begun
                await asyncio.sleep(0.02 if waited < QUICK_SECONDS else 0.1)
                news = (job.state, self.queue.ahead_of(job), int(job.progress * 50))
                if news != last_news and not job.over and waited > QUICK_SECONDS:
                    last_news = news
                    yield job
            yield job
        finally:
            if not job.over:
                self.queue.cancel(job)

    async def cancel(self, session: Session, page: str) -> str:
        """Stop what one page of a session has asked for, and say so once it has stopped, as HTML; "" without any."""
        jobs = self.queue.cancel_all(session.name, page)
        while not all(job.over for job in jobs):
            await asyncio.sleep(0.05)
        return note("Cancelled.") if jobs else ""

    def tell(self, job: Job, what: str) -> str:
        """Describe a job that goes on, as HTML: the place in the queue, or progress and time left."""
        if job.state == "waiting":
            ahead = self.queue.ahead_of(job)
            return note(f"{what}: waiting for {ahead} other request{'s' if ahead != 1 else ''}.", busy=True)
        left = job.seconds_left
        rest = "" if left is None else f", about {max(1, round(left))} s left"
        bar = f'<progress max="1" value="{job.progress:.3f}" aria-label="{html.escape(what)}"></progress>'
        return note(f"{what}: {job.progress:.0%}{rest}.", busy=True, more=bar)


def result_of(job: Job) -> Any:
    """Return what a finished job found; DataError with one sentence otherwise."""
    if job.state == "done":
        return job.result
    raise DataError(job.error or "Cancelled.")


def note(sentence: str, *, busy: bool = False, problem: bool = False, more: str = "") -> str:
    """Return a status line as HTML; what a user sent is escaped here."""
    kind = "problem" if problem else "busy" if busy else "calm"
    role = "alert" if problem else "status"
    return f'<div class="note {kind}" role="{role}"><span>{html.escape(sentence)}</span>{more}</div>'


def whole(value: Any, low: int, high: int, name: str) -> int:
    """Return a whole number that a browser sent; DataError when it is none between the bounds."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = low - 1
    if isinstance(value, float) and value != number:
        number = low - 1
    if not low <= number <= high:
        raise DataError(f"{name} is a whole number from {low} to {high:,}.")
    return number


def real(value: Any, low: float, high: float, name: str) -> float:
    """Return a number that a browser sent; DataError when it is none between the bounds."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not low <= number <= high:
        raise DataError(f"{name} is a number from {low:g} to {high:g}.")
    return number


def one_of(value: Any, choices: tuple[Any, ...], name: str) -> Any:
    """Return one of the choices; DataError for anything else that a browser sent."""
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    raise DataError(f"{name} is one of {', '.join(map(str, choices))}.")
