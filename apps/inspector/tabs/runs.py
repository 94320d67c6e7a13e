"""Training runs."""

from pathlib import Path
from typing import Any


def runs_tab(desk: Any, runs: tuple[Path, ...]) -> None:
    """Build the tab."""
