"""Hide a part of what was measured: which lines a scan consists of, and which of them may be hidden."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import DataError, FewLinesError
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.scale import central_run, central_width
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.masks import acs_slice

FOLDS = 6
"""One in so many lines is hidden at a time."""

LEAST_LINES = 6
"""With fewer lines outside the centre there is nothing to hide."""

ENOUGH_LINES = 8
"""So many lines are hidden altogether, if there are as many, by more draws than asked for where each hides few."""

MOST_CENTRAL = 24
"""Where k-space is sampled without gaps far beyond the centre, only so much of it counts as the centre."""

CENTRE_RADIUS = 1 / 8
"""Samples off the grid that lie nearer to the centre are not judged: all shots pass there."""

BLOCKS = 64
"""Off the grid, one long shot or a few are divided into as many pieces."""

JUMP = 2.0
"""A step this much longer than both its neighbours leads from one shot to the next."""


@dataclass(frozen=True)
class Lines:
    """The readout lines of one slice, and which of them may be hidden.

    Attributes
    ----------
    numbers
        int64, broadcasts to the data: the line that each number belongs to.
    judged
        Boolean, broadcasts likewise: the measured numbers outside the centre.
    hideable
        int64 ``(n,)``: the lines that may be hidden, from the centre outwards.
    """

    numbers: Tensor
    judged: Tensor
    hideable: Tensor


@dataclass(frozen=True)
class Hidden:
    """A scan of which some lines are hidden.

    Attributes
    ----------
    rest
        The measurement without them: what a method is given.
    lines
        int64 ``(n,)``: which are hidden.
    """

    rest: Measurement
    lines: Tensor


def lines_of(measurement: Measurement) -> Lines:
    """Find the lines of a scan.

    On the grid these are columns of k-space, or single cells where a mask varies in y and x. Off the grid they are
    shots, which are told apart by the jumps between them, or pieces of equal length where there are too few.

    The centre is never hidden: coil maps and scale come from there, and were estimated once, with all of it. So they
    know nothing of what is hidden, but for maps of nonlinear inversion, which look beyond a small centre; and no method
    has better ones than another.

    Parameters
    ----------
    measurement
        A batch of one.

    Raises
    ------
    FewLinesError
        If too few lines lie outside the centre.
    DataError
        If the data are no k-space.
    """
    data, operator = measurement.data, measurement.operator
    frequencies = operator.frequencies(data)
    if frequencies is None:
        raise DataError(f"{measurement.ids[0]}: lines can be hidden of k-space alone.")
    radii = frequencies.norm(dim=-1)
    if data.shape[-2] == 1:
        numbers, judged = _shots(frequencies.reshape(-1, 2)), radii > CENTRE_RADIUS
    else:
        measured = operator.entries(data)[0, 0]
        numbers, outside = _cartesian(measured)
        judged = measured & outside
    radii, places = radii.broadcast_to(shape := torch.broadcast_shapes(radii.shape, judged.shape)), judged.expand(shape)
    hideable, number = numbers.expand(shape)[places].unique(return_inverse=True)
    if len(hideable) < LEAST_LINES:
        raise FewLinesError(
            f"only {len(hideable)} measured lines lie outside the centre, too few to hide any; it takes at least "
            f"{LEAST_LINES}.",
            item=measurement.ids[0],
        )
    distance = number.bincount(radii[places]) / number.bincount()
    return Lines(
        numbers=numbers.reshape(1, 1, *numbers.shape[-2:]) if numbers.ndim > 1 else numbers[None, None, None],
        judged=judged.reshape(1, 1, *judged.shape[-2:]),
        hideable=hideable[distance.argsort(stable=True)],
    )


def hide(measurement: Measurement, lines: Lines, draws: int, generator: Draws) -> list[Hidden]:
    """Hide lines, other ones in each draw, at all distances from the centre alike.

    Of every six lines that follow each other outwards, each draw takes another at random.

    Parameters
    ----------
    measurement
        A batch of one.
    lines
        Of it.
    draws
        How often, at most `FOLDS`; `enough_draws` says how often it should be.
    generator
        The source of randomness.

    Raises
    ------
    DataError
        If the operator knows no scan without some of its lines.
    """
    count = len(lines.hideable)
    places = torch.cat([generator.permutations(FOLDS)[0] for _ in range(math.ceil(count / FOLDS))])[:count]
    hidden = []
    for draw in range(draws):
        chosen = lines.hideable[(places == draw).to(lines.hideable.device)]
        rest = measurement.operator.restricted(measurement.data, ~torch.isin(lines.numbers, chosen))
        if rest is None:
            raise DataError(f"{measurement.ids[0]}: no lines can be hidden of a scan of this kind.")
        hidden.append(Hidden(replace(measurement, operator=rest[0], data=rest[1]), chosen))
    return hidden


def hidden_of(measurement: Measurement, draws: int, seed: int) -> tuple[Lines, list[Hidden]]:
    """Return the lines of a scan, and the scan with other ones hidden in each draw: always the same for a seed.

    See `lines_of` and `hide`.
    """
    lines = lines_of(measurement)
    return lines, hide(measurement, lines, draws, generator_for(seed, "hidden lines", measurement.ids[0]))


def enough_draws(lines: Lines, asked: int) -> int:
    """Return how many draws hide enough lines, between what is asked for and all."""
    needed = math.ceil(ENOUGH_LINES * FOLDS / len(lines.hideable))
    return min(FOLDS, max(asked, needed))


def _cartesian(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the line of each cell and whether it lies outside the centre, for a mask ``(1 or y, x)``."""
    columns, rows = mask.any(0), mask.any(1)
    width = mask.shape[-1]
    x = torch.arange(width, device=mask.device)
    if bool((mask == (rows[:, None] & columns)).all()):
        run = central_run(columns)
        half = central_lines(run, int(columns.sum()), width)
        return x[None], _outside(x, width, half)[None]
    height = mask.shape[-2]
    side = central_lines(central_width(mask, height), int(mask.sum() ** 0.5), min(height, width))
    y = torch.arange(height, device=mask.device)
    outside = _outside(y, height, side)[:, None] | _outside(x, width, side)
    return y[:, None] * width + x, outside


def central_lines(run: int, measured: int, size: int) -> int:
    """Return how many central lines are never hidden: all without a gap, unless that is most of the scan."""
    return run if run <= measured // 2 else min(MOST_CENTRAL, size // 4)


def _outside(places: Tensor, size: int, lines: int) -> Tensor:
    centre = acs_slice(size, lines)
    return (places < centre.start) | (places >= centre.stop)


def _shots(positions: Tensor) -> Tensor:
    """Return the shot of each sample along a trajectory ``(samples, 2)``."""
    steps = positions.diff(dim=0).norm(dim=-1)
    before, after = steps[:-2], steps[2:]
    jumps = torch.zeros(len(positions), dtype=torch.bool, device=positions.device)
    jumps[2:-1] = steps[1:-1] > JUMP * torch.maximum(before, after)
    shots = jumps.cumsum(0)
    if int(shots[-1]) + 1 >= 2 * FOLDS:
        return shots
    return torch.arange(len(positions), device=positions.device) * BLOCKS // len(positions)
