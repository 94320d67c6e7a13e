"""How far the draws of a reconstructor are to differ, so that intervals cover what they say: told by hidden lines."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.calibration.scale import central_run
from rsd_med.corruptions.measurement import Conditions, Measurement
from rsd_med.diffusion.guess_error import LATENTS
from rsd_med.diffusion.unrolled import CALIBRATED, UnrolledNetwork
from rsd_med.inverse.hidden_lines_score import HiddenLinesScore
from rsd_med.inverse.hiding import LEAST_LINES, central_lines
from rsd_med.inverse.uncertainty import LEVEL, interval_width
from rsd_med.operators.masks import acs_slice
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.noise import complex_or_real_noise

MEASUREMENTS = 48
"""Behind the calibration of each share of columns."""

PAIRS = 4
"""Pairs of draws of each measurement."""

SHOWN = 0.7
"""Of the columns outside the centre, where a scan's own lines are hidden."""

MOST_SHOWN = 0.8
"""Of the columns of a measurement. Where nearly all are shown, what is hidden tells of noise alone."""

INSIDE = 0.1
"""Pixels brighter than this part of the zero-filled image's peak count."""

HALVINGS = 10
SMALLEST, GREATEST = 0.25, 4.0


@dataclass(frozen=True)
class _Prediction:
    """What is predicted of the image of a measurement's hidden lines, and what was measured, each ``(…, 1, y, x)``."""

    estimate: Tensor
    gaps: Tensor
    noise: Tensor
    truth: Tensor
    inside: Tensor

    def covered(self, factor: float) -> float:
        """Return the share of pixels inside that the interval of draws covers which differ ``factor`` times as much."""
        gaps = factor * self.gaps
        draws = torch.stack([self.estimate + gaps, self.estimate - gaps], 1).flatten(0, 1) + self.noise
        parts, truth = torch.view_as_real(draws), torch.view_as_real(self.truth)
        width = interval_width(len(draws)) * parts.std(0)
        return float(((truth - parts.mean(0)).abs() <= width)[self.inside].float().mean())


@torch.no_grad()
def calibrate_spread(network: UnrolledNetwork, score: HiddenLinesScore, conditions: Conditions, draws: Draws) -> None:
    """Set the network's ``shown_shares`` and ``spreads``.

    Lines of measurements are hidden, more and more of them. The image of the hidden lines alone, ``A_H^H y_H``, is
    known; the network predicts it, noise included. The factor is taken at which its intervals cover as much of it as
    they say. Real and imaginary parts are looked at: this image has no bright mean, and the magnitude of a dark pixel
    is not spread about that of its mean. No image is asked for.

    Central lines do not count: they are half of what is measured, and none of what later is not. With them, intervals
    of heads at R = 8 covered 84 % where they said 90; without, 88 %.

    Parameters
    ----------
    network
        Trained.
    score
        How it was trained.
    conditions
        Measurements, with masks of columns.
    draws
        The source of randomness.
    """
    low, high = score.shares
    high = max(low, min(high, MOST_SHOWN))
    levels = torch.linspace(low, high, CALIBRATED).tolist()
    shares, factors = [], []
    for level in levels:
        total, predictions = 0.0, []
        batches = (conditions[number : number + 1] for number in range(min(MEASUREMENTS, len(conditions))))
        for share, prediction in _predictions(network, replace(score, shares=(level, level)), batches, draws):
            total += share
            predictions.append(prediction)
        shares.append(total / max(1, len(predictions)))
        factors.append(_factor(predictions) if predictions else 1.0)
    known = sorted(zip(shares, factors, strict=True))  # chance may exchange neighbouring levels
    network.shown_shares.copy_(torch.tensor([share for share, _ in known]))
    network.spreads.copy_(torch.tensor([factor for _, factor in known]))


@torch.no_grad()
def own_spread(network: UnrolledNetwork, measurement: Measurement, hidings: int, draws: Draws) -> float | None:
    """Return how far draws would have to differ for intervals to cover the hidden lines of this one scan.

    Training knows how far off the network is on scans like those it learned from. On another scanner's it is farther
    off, and the scan's own lines tell by how much.

    Parameters
    ----------
    network
        Trained.
    measurement
        Of whole columns, a batch of one.
    hidings
        How often some of its columns outside the centre are hidden.
    draws
        The source of randomness.

    Returns
    -------
    float or None
        In multiples of what the network says; None where σ is not known, or too few columns lie outside the centre.
    """
    operator = measurement.operator
    if not isinstance(operator, MultiCoilFourier) or float(measurement.sigma[0]) == 0:
        return None
    columns = operator.mask.flatten()
    run, measured = central_run(columns), int(columns.sum())
    central = min(run, central_lines(run, measured, len(columns)))
    if measured - central < LEAST_LINES:
        return None
    score = HiddenLinesScore(central, central, 2, ("entries",), (SHOWN, SHOWN))
    predictions = [one for _, one in _predictions(network, score, [measurement] * hidings, draws)]
    return _factor(predictions) if predictions else None


@torch.no_grad()
def spread_on(
    parts: Sequence[tuple[UnrolledNetwork, Measurement, Measurement]], whole: Measurement, draws: Draws
) -> float:
    """Return how far draws would have to differ for intervals to cover these hidden lines.

    Parameters
    ----------
    parts
        Trained networks, each with the lines that it is shown and those that it has not learned from.
    whole
        The measurement that the parts are of: whole columns, a batch of one.
    draws
        The source of randomness.

    Returns
    -------
    float
        In multiples of what the network says.
    """
    return _factor([_predicted(network, whole, shown, hidden, draws) for network, shown, hidden in parts])


def _predictions(
    network: UnrolledNetwork, score: HiddenLinesScore, batches: Iterable[Measurement], draws: Draws
) -> Iterator[tuple[float, _Prediction]]:
    """Yield the share of columns that was shown, and what was predicted, for one measurement after another."""
    for batch in batches:
        shown, hidden = score.parted(batch, draws)
        hidden = _outside_the_centre(hidden, score.central)
        assert isinstance(hidden.operator, MultiCoilFourier)
        if not bool(hidden.operator.mask.any()):
            continue
        share = float(shown.operator.entries(shown.data).float().mean())
        yield share, _predicted(network, batch, shown, hidden, draws)


def _predicted(
    network: UnrolledNetwork, whole: Measurement, shown: Measurement, hidden: Measurement, draws: Draws
) -> _Prediction:
    assert isinstance(hidden.operator, MultiCoilFourier)
    estimate, gaps = network.pairs(shown, draws.normal(1, PAIRS, LATENTS, *whole.size).to(whole.device))
    every = hidden.operator[torch.zeros(1 + PAIRS, dtype=torch.long)]
    images = every.normal(torch.cat([estimate[0], gaps[0]]))
    alike = hidden.operator[torch.zeros(2 * PAIRS, dtype=torch.long)]
    several = whole.data.expand(2 * PAIRS, *whole.data.shape[1:])
    noise = complex_or_real_noise(several, float(whole.sigma[0]), draws).masked_fill(~hidden.operator.mask, 0)
    image = whole.image().abs()
    return _Prediction(
        images[:1].cpu(),
        images[1:].cpu(),
        alike.H(noise).cpu(),
        hidden.image()[0].cpu(),
        (image > INSIDE * image.max())[0].cpu(),
    )


def _outside_the_centre(hidden: Measurement, lines: int) -> Measurement:
    """Return what is hidden but for the central lines, which every scan measures: of those no image is ever unsure."""
    operator = hidden.operator
    assert isinstance(operator, MultiCoilFourier)
    mask = operator.mask.clone()
    mask[..., acs_slice(mask.shape[-1], lines)] = False
    part, data = operator.restricted(hidden.data, mask)
    return replace(hidden, operator=part, data=data)


def _factor(predictions: list[_Prediction]) -> float:
    """Return the factor at which intervals cover as much as they say, by halving the range of its logarithm."""
    low, high = SMALLEST, GREATEST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        covered = sum(one.covered(middle) for one in predictions) / len(predictions)
        low, high = (middle, high) if covered < LEVEL else (low, middle)
    return (low * high) ** 0.5
