"""Which method a check on hidden lines speaks for: a table, the row to choose, and what is to be said of another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rsd_med.inverse.cg_sense import CGSenseSettings
from rsd_med.inverse.hidden_lines import Candidate, Errors
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.inverse.zero_filled import ZeroFilledSettings

BASELINE = "l1_wavelet"
"""What a learned method is held against."""

WEIGHTS = (1e-3, 3e-3, 1e-2, 3e-2)
"""λ of the baseline, from weak to strong."""

DOUBT = 2.0
"""Standard errors that count as certain."""


@dataclass(frozen=True)
class Row:
    """A method, and how it predicts the hidden lines."""

    candidate: Candidate
    errors: Errors


@dataclass(frozen=True)
class Table:
    """The methods from simple to complicated, each with its settings from weak to strong regularisation.

    Attributes
    ----------
    rows
        In that order.
    draws, slices
        How often lines were hidden of each slice, and of how many slices.
    """

    rows: tuple[Row, ...]
    draws: int
    slices: int

    def chosen(self) -> Row:
        """Return the row to take.

        Of each method the best settings, and of the methods the best; but where the best is not better by more than the
        standard error of the difference, the first in order. So a tie goes to the simpler method, and among settings to
        the one that stays closer to the data. What is compared is the error that is to be expected of all of k-space
        (`Errors.expected`): hidden lines do not see what a method does to the others.
        """
        names = dict.fromkeys(row.candidate.name for row in self.rows)
        return _first_of_the_best([self.best_of(name) for name in names])

    def best_of(self, name: str) -> Row:
        """Return the row of a method with its best settings."""
        return _first_of_the_best([row for row in self.rows if row.candidate.name == name])

    def baseline(self) -> Row:
        """Return what a learned method is held against: L1-wavelet with the λ that predicts hidden lines best."""
        rows = [row for row in self.rows if row.candidate.name == BASELINE]
        best = min(rows, key=lambda row: row.errors.relative)
        return next(row for row in rows if _ties(row.errors.beyond(best.errors)))

    def row_of(self, candidate: Candidate) -> Row:
        """Return the row of a candidate."""
        return next(row for row in self.rows if row.candidate is candidate)

    def warning(self, row: Row) -> str | None:
        """Say what speaks against a method on this scan; None where nothing does."""
        name, figure = row.candidate.name, row.errors.relative
        baseline = self.baseline()
        above, error = row.errors.beyond(baseline.errors)
        if row.candidate.learned and above > error:
            return (
                f"{name} predicts hidden lines worse than {BASELINE} does ({figure:.2f} against "
                f"{baseline.errors.relative:.2f} of their energy): what it adds to the measured lines is not that of "
                f"this scan; use {BASELINE}."
            )
        nothing = replace(row.errors, squared=row.errors.energy)
        above, error = row.errors.beyond(nothing)
        if above > DOUBT * error:
            return (
                f"{name} predicts hidden lines worse than an empty image would (squared error {figure:.2f} of their "
                "energy): its image is not to be trusted; see whether the coil maps describe the scan."
            )
        return None

    def as_dict(self) -> dict[str, Any]:
        """Return the table for a record."""
        chosen = self.chosen()
        return {
            "lines": len(chosen.errors.squared),
            "draws": self.draws,
            "slices": self.slices,
            "methods": [
                {
                    "method": row.candidate.name,
                    "settings": row.candidate.settings(),
                    "relative_squared_error": row.errors.relative,
                    "noise_ratio": row.errors.noise_ratio,
                    "above_chosen": row.errors.beyond(chosen.errors)[0],
                    "standard_error": row.errors.beyond(chosen.errors)[1],
                }
                for row in self.rows
            ],
            "chosen": self.rows.index(chosen),
        }

    def text(self) -> str:
        """Return the table for people."""
        chosen = self.chosen()
        lines = [
            f"{len(chosen.errors.squared)} hidden lines: squared error in parts of their energy (an empty image: 1), "
            "how far above the chosen one with its standard error, and error in multiples of the noise"
        ]
        for row in self.rows:
            above, error = row.errors.beyond(chosen.errors)
            noise = row.errors.noise_ratio
            end = ("" if noise is None else f"{noise:8.2f}") + ("  chosen" if row is chosen else "")
            lines.append(f"  {label(row.candidate):20s}{row.errors.relative:8.3f}{above:+8.3f} ± {error:.3f}{end}")
        return "\n".join(lines)


def label(candidate: Candidate) -> str:
    """Name a candidate in a few words."""
    weight = candidate.settings().get("regularisation")
    return candidate.name if weight is None else f"{candidate.name} {weight:g}"


def classical_candidates() -> list[Candidate]:
    """Return the methods without a prior that take part in a choice, from simple to complicated."""
    return [
        Candidate("zero_filled", ZeroFilledSettings().build()),
        Candidate("cg_sense", CGSenseSettings().build()),
        *baseline_candidates(),
    ]


def baseline_candidates() -> list[Candidate]:
    """Return L1-wavelet with each of its λ."""
    return [Candidate(BASELINE, L1WaveletSettings(regularisation=weight).build()) for weight in WEIGHTS]


def compared_with(candidate: Candidate) -> list[Candidate]:
    """Return what one method is shown beside: zero-filling and L1-wavelet; and itself."""
    others = [Candidate("zero_filled", ZeroFilledSettings().build()), *baseline_candidates()]
    same = [other for other in others if other.solver.settings == candidate.solver.settings]
    return [candidate if other in same else other for other in others] + ([] if same else [candidate])


def _ties(difference: tuple[float, float]) -> bool:
    above, error = difference
    return above <= error


def _first_of_the_best(rows: Sequence[Row]) -> Row:
    best = min(rows, key=lambda row: row.errors.expected)
    for row in rows:
        if row.errors.expected - best.errors.expected <= row.errors.doubt(best.errors):
            return row
    return best
