"""What goes wrong is one line in the log, without what was sent, and the same line not without end."""

import logging
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

LINES, SECONDS = 5, 60.0
"""Times that one line may appear in so many seconds; then its repetitions are counted."""
LOGGER = "inspector"


def describe(error: BaseException) -> str:
    """Return kind and place of an error: not its text, which may hold what a user sent."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    return f"{type(error).__name__} in {Path(frames[-1].filename).name}:{frames[-1].lineno} ({frames[-1].name})"


class QuietLog(logging.Filter):
    """Fold tracebacks into their line, and leave out what was said often enough."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record; False when it is left out."""
        line = record.getMessage().partition("\n")[0]
        if record.exc_info and record.exc_info[1] is not None:
            line = f"{line}: {describe(record.exc_info[1])}"
        record.msg, record.args, record.exc_info, record.exc_text = line, (), None, None
        now = time.monotonic()
        begun, count = self._said.get(line, (now, 0))
        if now - begun > SECONDS:
            if count > LINES:
                record.msg = f"{line} (and {count - LINES} times more in the {SECONDS:.0f} s before)"
            begun, count = now, 0
        if len(self._said) > 100:
            self._said.clear()
        self._said[line] = begun, count + 1
        return count < LINES


def quieten() -> None:
    """Quieten uvicorn, asyncio and Gradio; what Gradio prints goes to a logger too."""
    for name in ("asyncio", "uvicorn.error", LOGGER):
        logger = logging.getLogger(name)
        if not any(isinstance(known, QuietLog) for known in logger.filters):
            logger.addFilter(QuietLog())


def quieten_gradio() -> None:
    """Let Gradio tell of errors in a line: it prints whole tracebacks, with all inputs, and has no setting for it."""
    from gradio import queueing

    def print_exc() -> None:
        logging.getLogger(LOGGER).error("A request failed", exc_info=sys.exc_info())

    queueing.traceback = cast(ModuleType, SimpleNamespace(print_exc=print_exc))
