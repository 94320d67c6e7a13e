"""The journal of a process that leaves speaking and writing to rank 0."""

from types import TracebackType
from typing import Self

from rsd_med.engine.journal import Journal


class SilentJournal(Journal):
    """Takes everything and writes nothing."""

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
