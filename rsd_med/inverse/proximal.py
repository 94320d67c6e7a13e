"""The measurement as a proximal map: the image nearest to a guess that explains the data, both with their errors."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.conjugate_gradient import conjugate_gradient
from rsd_med.operators.noise import complex_or_real_noise

MIN_SIGMA = 1e-3
"""Noise-free data count as having this noise: with none at all, nothing tempers the fit."""

MIN_VARIANCE = 1e-6
"""A guess is never believed to be exact."""

FLAT_SHARE = 0.05
"""Part of a guess's error that is the same everywhere; the rest goes with the signal."""


@torch.no_grad()
def data_proximal(guess: Tensor, variance: Tensor, measurement: Measurement, iterations: int = 15) -> Tensor:
    """Return ``argmin_x ‖A x − y‖² / σ² + ‖(x − guess) / τ‖²``: the mean of x given y.

    The model: x is normal around the guess, independent from pixel to pixel, with variance τ² per real component.

    Parameters
    ----------
    guess
        ``(b, 1, y, x)`` complex64.
    variance
        τ², ``(b, 1, y, x)`` or ``(b, 1, 1, 1)`` float32, positive.
    measurement
        As many items.
    iterations
        Conjugate-gradient steps, at most.
    """
    return guess + variance * data_score(guess, variance, measurement, iterations)


@torch.no_grad()
def data_score(guess: Tensor, variance: Tensor, measurement: Measurement, iterations: int = 15) -> Tensor:
    """Return ``A^H (σ² + A τ² A^H)⁻¹ (y − A guess)``.

    In the model of `data_proximal`, this is the gradient of ln p(y) with respect to the guess.

    The system is solved in the image: ``(σ² + τ A^H A τ) w = τ A^H (y − A guess)``, and the result is ``w / τ``.
    """
    operator, deviation = measurement.operator, variance.sqrt()
    noise2 = noise_variance(measurement)
    misfit = operator.H(measurement.data) - operator.normal(guess)
    solution = conjugate_gradient(
        lambda v: noise2 * v + deviation * operator.normal(deviation * v),
        deviation * misfit,
        iterations,
        tolerance=1e-3,
    )
    return solution / deviation


@torch.no_grad()
def posterior_draws(guess: Tensor, variance: Tensor, measurement: Measurement, generators: Sequence[Draws]) -> Tensor:
    """Draw x given y in `data_proximal`'s model: fit a perturbed guess to perturbed data (Papandreou & Yuille 2010).

    Perturbations come in pairs of opposite sign, so that the mean of an even number of samples is that of their means;
    the last of an odd number has none and is its mean.

    Parameters
    ----------
    guess, variance, measurement
        As for `data_proximal`; one item per sample.
    generators
        One for each sample; of a pair, the first is used.
    """
    shape, like = guess.shape[1:], measurement.data
    shift, noise = torch.zeros_like(guess), torch.zeros_like(like)
    for first in range(0, len(guess) - 1, 2):
        generator = generators[first]
        for target, size in ((shift, shape), (noise, like.shape[1:])):
            drawn = complex_or_real_noise(torch.empty(1, *size, dtype=target.dtype), 1.0, generator)[0]
            target[first], target[first + 1] = drawn.to(target.device), -drawn.to(target.device)
    perturbed = replace(measurement, data=like + noise_variance(measurement).sqrt() * noise)
    return data_proximal(guess + variance.sqrt() * shift, variance, perturbed, iterations=30)


@torch.no_grad()
def guess_variance(guess: Tensor, measurement: Measurement) -> Tensor:
    """Estimate how wrong a guess is, from the measurement alone.

    If the guess errs by independent noise of variance τ² per real component, the expected energy of ``y − A guess`` is
    ``2 N σ² + 2 tr(A τ² A^H)`` for N sampled entries: that gives the mean of τ². Where it is large is taken from the
    image: errors go with signal, and where all guesses are dark there is little to be wrong about.

    Parameters
    ----------
    guess
        ``(b, 1, y, x)`` complex64.
    measurement
        As many items.

    Returns
    -------
    Tensor
        ``(b, 1, y, x)`` float32, positive.
    """
    energy = (measurement.data - measurement.operator(guess)).abs().square().flatten(1).sum(1)
    signal = avg_pool2d(guess.abs().square(), 3, stride=1, padding=1, count_include_pad=False)
    mean = signal.mean((-3, -2, -1), keepdim=True)
    share = torch.where(mean > 0, signal / mean.clamp_min(torch.finfo(mean.dtype).tiny), 1.0)
    share = FLAT_SHARE + (1 - FLAT_SHARE) * share
    operator = measurement.operator
    entries = operator.entry_counts(measurement.data)
    trace = (share * operator.normal_diagonal(guess)).sum((-3, -2, -1))
    variance = ((energy / 2 - entries * measurement.sigma.square()) / trace).clamp_min(MIN_VARIANCE)
    return variance.reshape(-1, 1, 1, 1) * share


def noise_variance(measurement: Measurement) -> Tensor:
    """Return σ² of each item, ``(b, 1, 1, 1)``, at least `MIN_SIGMA` squared."""
    return measurement.sigma.clamp_min(MIN_SIGMA).square().reshape(-1, 1, 1, 1)
