"""How long work tells how far it is."""

from collections.abc import Callable

Progress = Callable[[float], None]
"""Called with the share of the work that is done, in [0, 1]; whatever it raises ends the work."""


def silent(_: float) -> None:
    """Report to nobody."""
