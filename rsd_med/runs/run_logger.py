"""What a run says while it works: progress bar, log file, metrics lines, TensorBoard, MLflow."""

import os
import sys
import time
from types import TracebackType
from typing import Any, Self

from rsd_med.base.errors import InterruptedRunError, ProtocolError
from rsd_med.runs.run_folder import RunFolder
from rsd_med.runs.tracking import Tracker


class RunLogger:
    """Tells a person and the run folder how a run is going.

    Parameters
    ----------
    run
        Where to write.
    quiet
        Print warnings alone.
    tracker
        Is given all figures too; closed with the logger.
    """

    def __init__(self, run: RunFolder, quiet: bool = False, tracker: Tracker | None = None) -> None:
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
        self._tracker = tracker
        self._bar: Any = None
        self._last_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_stage()
        if self._tracker is not None:
            self._tracker.close(_state(kind))
            self._say_what_tracking_met()
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
        self._track({f"{stage}/{name}": value for name, value in figures.items()}, images)

    def conclude(self, figures: dict[str, dict[str, float]], images: int) -> None:
        """Give the figures of each model, measured at the end, to those who track the run."""
        named = {f"final/{model}/{name}": value for model, own in figures.items() for name, value in own.items()}
        self._track({name: value for name, value in named.items() if isinstance(value, float | int)}, images)

    def _track(self, figures: dict[str, float], images: int) -> None:
        if self._tracker is not None:
            self._tracker.record(figures, images)
            self._say_what_tracking_met()

    def _say_what_tracking_met(self) -> None:
        """Say once that figures do not reach MLflow; the run goes on."""
        if self._tracker is not None and self._tracker.problem is not None:
            self.say(
                f"MLflow gets no more figures of this run, which goes on: {self._tracker.problem}. They all stand in "
                f"{self.run.metrics_lines.name}.",
                warning=True,
            )
            self._tracker = None


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

    def conclude(self, figures: dict[str, dict[str, float]], images: int) -> None:
        """Write nothing."""


def _state(kind: type[BaseException] | None) -> str:
    """Return the state of a run that an exception ends, as in ``status.json``."""
    if kind is None:
        return "done"
    return "interrupted" if issubclass(kind, (InterruptedRunError, KeyboardInterrupt)) else "failed"
