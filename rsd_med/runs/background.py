"""Work beside the steps of a run: one piece at a time, and its failure is the run's."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self


class Background:
    """A thread for what the next step need not wait for.

    Leaving the ``with`` block waits for what is still under way, so that nothing is cut off but by a kill.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="background")
        self._work: Future[object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.finish()
            elif self._work is not None:
                wait([self._work])  # the error that ends the block is the one to be told
        finally:
            self._pool.shutdown()

    def start(self, work: Callable[[], object]) -> None:
        """Start ``work``; what was started before has been waited for."""
        assert self._work is None, "one at a time: finish what is under way"
        self._work = self._pool.submit(work)

    def look(self) -> None:
        """Raise what the work has raised, where it has ended; wait for nothing."""
        if self._work is not None and self._work.done():
            self.finish()

    def finish(self) -> None:
        """Wait until the work is done; raises what it has raised."""
        if self._work is not None:
            work, self._work = self._work, None
            work.result()
