"""Asked to stop: finish the step, save, leave with the resumable exit code."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from rsd_med.base.errors import InterruptedRunError


class StopRequest:
    """Notes SIGTERM, SIGINT and SIGUSR1 while it is entered; a second SIGINT interrupts at once.

    Attributes
    ----------
    name
        The signal that asks for a stop; None while there was none.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def __init__(self) -> None:
        self.name: str | None = None
        self._at_once = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in self.SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Leave where the signal arrives, for a block that has no step to finish and nothing of its own to save.

        Raises
        ------
        InterruptedRunError
            In the midst of the block, or before it where the signal has already come.
        """
        self._at_once = True
        try:
            if self.name is not None:
                raise _interrupted(self.name)
            yield
        finally:
            self._at_once = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
        if self._at_once:
            raise _interrupted(self.name)


def _interrupted(name: str) -> InterruptedRunError:
    return InterruptedRunError(
        f"stopped by {name} between the steps of training; what was saved is kept, run the same command again to go on."
    )
