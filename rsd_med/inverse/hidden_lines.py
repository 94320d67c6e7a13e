"""The check on hidden lines: measured lines that a method was not given show how well it predicts.

A residual cannot tell inventions from knowledge: every method fits what it is given. Lines that were measured and not
given to it can. The method that predicts them best is the best guess for the lines that were never measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from rsd_med.base.progress import Progress, part_of
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import Solver
from rsd_med.inverse.hiding import Hidden, Lines, hidden_of
from rsd_med.operators.mri import MultiCoilFourier

DRAWS = 3
"""How often lines are hidden, unless more is asked for or needed."""


@dataclass(frozen=True)
class Candidate:
    """A method that takes part.

    Attributes
    ----------
    name
        Of the method.
    solver
        It, with its settings.
    """

    name: str
    solver: Solver

    @property
    def learned(self) -> bool:
        """Whether it has a prior."""
        return self.solver.settings.needs is not None

    def settings(self) -> dict[str, Any]:
        """Return its settings besides its name."""
        return self.solver.settings.model_dump(exclude={"kind"})


@dataclass(frozen=True)
class Errors:
    """How well one candidate predicts the hidden lines.

    Attributes
    ----------
    squared
        float64 ``(lines,)``: ‖A x − y‖² of each hidden line, x being the image made without it.
    energy
        float64 ``(lines,)``: ‖y‖² of each.
    noise
        float64 ``(lines,)``: what noise alone leaves, 2σ²N of N complex numbers; 0 where σ is not known.
    shown
        float64 ``(draws,)``: ‖A x − y‖² of all lines that were not hidden.
    unmeasured
        float64 ``(draws,)``: how many times as much of k-space was never measured as was hidden; 0 where that cannot be
        said, off the grid.
    """

    squared: Tensor
    energy: Tensor
    noise: Tensor
    shown: Tensor
    unmeasured: Tensor

    @property
    def relative(self) -> float:
        """Squared error as a part of the energy: 1 is what an empty image gives."""
        return float(self.squared.sum() / self.energy.sum())

    @property
    def noise_ratio(self) -> float | None:
        """Error in multiples of the noise: 1 is the best there can be; None where the noise is not known."""
        noise = float(self.noise.sum())
        return math.sqrt(float(self.squared.sum()) / noise) if noise > 0 else None

    @property
    def expected(self) -> float:
        """Squared error that is to be expected of all of k-space.

        Lines that were never measured are predicted as well as hidden ones. Of those that a method was given, it is
        their misfit: strong regularisation predicts hidden lines well, and takes from what was measured. Off the grid,
        hidden lines alone count.
        """
        return self._weight() * float(self.squared.sum()) + (float(self.shown.mean()) if self._on_grid() else 0.0)

    def doubt(self, other: Self) -> float:
        """Return the standard error of the difference of what is expected of two candidates."""
        return self._weight() * self.beyond(other)[1] * float(self.energy.sum())

    def _on_grid(self) -> bool:
        return bool((self.unmeasured > 0).all())

    def _weight(self) -> float:
        """Return for how much of k-space the hidden lines of all draws stand, in multiples of themselves."""
        return float(self.unmeasured.mean()) / len(self.unmeasured) if self._on_grid() else 1.0

    def beyond(self, other: Self) -> tuple[float, float]:
        """Return by how much the relative squared error is above another's, and the standard error of that.

        Both predicted the same lines, so that the differences line by line tell more than the two sums: what makes a
        line hard to predict is common to both.
        """
        difference = self.squared - other.squared
        total = float(self.energy.sum())
        spread = float(difference.std()) if len(difference) > 1 else math.inf
        return float(difference.sum()) / total, spread * math.sqrt(len(difference)) / total

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Put the lines of several draws together."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in _PARTS))


_PARTS = ("squared", "energy", "noise", "shown", "unmeasured")


def predict(
    measurement: Measurement, candidates: Sequence[Candidate], draws: int, seed: int, progress: Progress
) -> list[Errors]:
    """Hide lines of one slice from each candidate in turn.

    Parameters
    ----------
    measurement
        A batch of one, where the candidates compute.
    candidates
        The methods.
    draws
        How often lines are hidden; see `enough_draws`.
    seed
        Lines and methods' draws derive from it and the slice's id.
    progress
        Told how far the work is; may raise to cancel.

    Returns
    -------
    list of Errors
        One for each candidate, of the same lines.

    Raises
    ------
    DataError
        If too few lines lie outside the centre.
    """
    lines, hidden = hidden_of(measurement, draws, seed)
    name, device = measurement.ids[0], measurement.device
    errors = []
    for number, candidate in enumerate(candidates):
        generators = [generator_for(seed, "check", name, draw, device=device) for draw in range(draws)]
        report = part_of(progress, number, len(candidates))
        images = candidate.solver.without(measurement, hidden, generators, report)
        each = [errors_of(image, measurement, lines, one) for image, one in zip(images, hidden, strict=True)]
        errors.append(Errors.cat(each))
    return errors


@torch.no_grad()
def errors_of(image: Tensor, measurement: Measurement, lines: Lines, hidden: Hidden) -> Errors:
    """Compare what the whole scan would have measured of an image ``(set, y, x)`` with the lines that were hidden."""
    data, operator = measurement.data, measurement.operator
    if isinstance(operator, MultiCoilFourier) and len(image) < operator.sets:
        operator = operator.first_set()  # the method takes one map of each coil
    difference = operator(image[None]) - data
    coils = data.shape[1]
    judged = (lines.judged & torch.isin(lines.numbers, hidden.lines)).expand(1, 1, *data.shape[-2:])
    # Sums over coils of each number, then of each line.
    number = torch.searchsorted(hidden.lines.sort().values, lines.numbers.expand_as(judged)[judged])

    def by_line(values: Tensor) -> Tensor:
        return number.bincount(values.double(), minlength=len(hidden.lines))

    def power(values: Tensor) -> Tensor:
        return values.abs().square().sum(1, keepdim=True)[judged]

    squared, energy = by_line(power(difference)).cpu(), by_line(power(data)).cpu()
    counts = number.bincount(minlength=len(hidden.lines)).double().cpu()
    entries, cells = operator.entries(data), data.shape[-2] * data.shape[-1]
    left = difference.masked_fill(~entries | torch.isin(lines.numbers, hidden.lines), 0).abs().square().sum()
    on_grid = isinstance(operator, MultiCoilFourier)
    measured = int(entries.expand(1, 1, *data.shape[-2:]).sum()) if on_grid else cells
    unmeasured = (cells - measured) / max(1, int(judged.sum()))
    noise = 2 * float(measurement.sigma[0]) ** 2 * coils * counts
    return Errors(squared, energy, noise, *(torch.tensor([float(one)]).double() for one in (left, unmeasured)))
