"""Asked to stop: finish the step, save, leave with the resumable exit code."""

import errno
import os
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from rsd_med.base.errors import InterruptedRunError


class StopRequest:
    """Notes signals that ask for an end while it is entered; a second SIGINT interrupts at once.

    What is ignored already stays ignored: ``nohup`` keeps a run going when its terminal closes.

    Attributes
    ----------
    name
        The signal that asks for a stop; None while there was none.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)

    def __init__(self) -> None:
        self.name: str | None = None
        self._at_once = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in self.SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # Shell and kernel each say that a terminal has gone. The second time may come while the process ends, and
            # must not change its exit code.
            gone = number == signal.SIGHUP and self.name == "SIGHUP"
            signal.signal(number, signal.SIG_IGN if gone else handler)  # type: ignore[arg-type]

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
        if number == signal.SIGHUP:
            _leave_terminal()
        if self._at_once:
            raise _interrupted(self.name)


def _leave_terminal() -> None:
    """Let a terminal that has gone swallow what is still to be said: writing to it would be an error."""
    for stream in (0, 1, 2):
        try:
            termios.tcgetattr(stream)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_RDWR), stream)


def _interrupted(name: str) -> InterruptedRunError:
    return InterruptedRunError(
        f"stopped by {name}; all that was trained so far is saved, run the same command again to go on."
    )
