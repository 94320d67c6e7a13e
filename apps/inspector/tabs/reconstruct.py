"""Reconstruct."""

from typing import Any


def reconstruct_tab(page: Any, desk: Any) -> None:
    """Build the tab."""
