"""The methods that the page offers: every kind of solver, and the reconstructor that adapts to the scan first."""

from rsd_med.inverse.kinds import SOLVERS

ADAPTED = "adapted"
"""The reconstructor, after it has learned from the lines of the slice at hand."""

ADAPTATION_STEPS = 100
"""Steps at most that it learns: two minutes for 128 × 128 on one core."""

CHECK_DRAWS = 3
"""How often lines are hidden from a learned method, at least. As many copies adapt, so that the check asks these."""

TITLES: dict[str, str] = {**SOLVERS.titles, ADAPTED: "Reconstructor, adapted to the scan"}
"""Of every method, by its name."""


def kind_of(method: str) -> str:
    """Return the kind of solver that a method is."""
    return "reconstructor" if method == ADAPTED else method
