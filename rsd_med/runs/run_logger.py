"""What a run says while it works: progress bar, log file, metrics lines, TensorBoard."""

import os
import sys
import time
from types import TracebackType
from typing import Any, Self

from rsd_med.base.errors import ProtocolError
from rsd_med.runs.run_folder import RunFolder


class RunLogger:
    """Tells a person and the run folder how a run is going.

    Parameters
    ----------
    run
        Where to write.
    quiet
        Print warnings alone.
    """

    def __init__(self, run: RunFolder, quiet: bool = False) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run = run
        self.quiet = quiet
        # First what fails in a sentence: TensorBoard's writer fails in a thread of its own, with a traceback.
        for place in (run.path, run.tensorboard):
            if place.exists() and not os.access(place, os.W_OK | os.X_OK):
                raise ProtocolError(
                    f"{place}: permission denied, and what is measured is written there; copy the run folder, or ask "
                    "its owner."
                )
        self._log = run.log.open("a", encoding="utf-8")
        self._writer = SummaryWriter(str(run.tensorboard), flush_secs=30)
        self._bar: Any = None
        self._last_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_stage()
        self._writer.close()
        self._log.close()

    def say(self, sentence: str, warning: bool = False) -> None:
        """Tell a person one thing."""
        self._log.write(time.strftime("%Y-%m-%d %H:%M:%S ") + sentence + "\n")
        self._log.flush()
        if self.quiet and not warning:
            return
        if self._bar is not None:
            self._bar.write(sentence, file=sys.stderr)
        else:
            print(sentence, file=sys.stderr, flush=True)

    def begin_stage(self, name: str, images: int, total: int) -> None:
        """Start the progress of a stage at ``images`` of ``total``."""
        from tqdm import tqdm

        self._name, self._total = name, total
        self._began, self._began_at = time.monotonic(), images
        interactive = sys.stderr.isatty() and not self.quiet
        self._bar = tqdm(
            total=total, initial=images, desc=name, unit="img", unit_scale=True, disable=not interactive, leave=True
        )

    def progress(self, images: int) -> None:
        """Advance to ``images``; where there is no terminal, print a line every ten seconds."""
        now = time.monotonic()
        self._bar.n = images
        # tqdm decides by the clock on the wall when to draw; set back, that would stop the bar until it caught up.
        if not self._bar.disable and now - self._last_line > 0.1:
            self._last_line = now
            self._bar.refresh()
        elif self._bar.disable and not self.quiet and now - self._last_line > 10:
            self._last_line = now
            rate = (images - self._began_at) / max(now - self._began, 1e-9)
            left = (self._total - images) / max(rate, 1e-9)
            print(
                f"{self._name}: {images:,} of {self._total:,} images, {rate:.0f} images/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def end_stage(self) -> None:
        """Close the progress of the stage."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def record(self, stage: str, images: int, figures: dict[str, float]) -> None:
        """Write figures to ``metrics.jsonl`` and TensorBoard."""
        self.run.append_metrics({"stage": stage, "images": images, **figures})
        for name, value in figures.items():
            self._writer.add_scalar(f"{stage}/{name}", value, images)


class SilentRunLogger(RunLogger):
    """A run logger of the ranks after the first: takes everything and writes nothing."""

    def __init__(self) -> None:
        """Open no file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close nothing."""

    def say(self, sentence: str, warning: bool = False) -> None:
        """Say nothing."""

    def begin_stage(self, name: str, images: int, total: int) -> None:
        """Show nothing."""

    def progress(self, images: int) -> None:
        """Show nothing."""

    def end_stage(self) -> None:
        """Show nothing."""

    def record(self, stage: str, images: int, figures: dict[str, float]) -> None:
        """Write nothing."""
