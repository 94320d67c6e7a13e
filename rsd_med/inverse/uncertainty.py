"""Uncertainty from posterior samples: their spread, and an interval for the truth."""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

LEVEL = 0.9
"""The share of pixels that an interval is meant to cover."""

NEIGHBOURHOOD = 3
"""Side of the square over which variances are averaged for a map of uncertainty, in pixels."""


def combined_magnitude(images: Tensor) -> Tensor:
    """Return the magnitude of images, whose parts belong to the sets of coil maps: one set as a rule.

    Of several, it is the root of their sum of squares: with orthonormal maps, that of the coil images.

    Parameters
    ----------
    images
        ``(..., set, y, x)`` complex64.

    Returns
    -------
    Tensor
        ``(..., 1, y, x)`` float32.
    """
    return images.abs() if images.shape[-3] == 1 else images.abs().square().sum(-3, keepdim=True).sqrt()


def spread(samples: Tensor) -> Tensor:
    """Return how uncertain the magnitudes of ``(n, set, y, x)`` samples are: ``(1, y, x)`` float32, n > 1.

    The root of their variance, averaged over squares of `NEIGHBOURHOOD` pixels: of eight samples, a pixel's own
    deviation is off by a quarter, and a map of it shows that before it shows where errors are.
    """
    variance = combined_magnitude(samples).var(dim=0).to(torch.float32)
    side = NEIGHBOURHOOD
    averaged = avg_pool2d(variance[None], side, stride=1, padding=side // 2, count_include_pad=False)[0]
    return averaged.clamp_min(0).sqrt()


def prediction_interval(samples: Tensor, level: float = LEVEL) -> tuple[Tensor, Tensor]:
    """Return an interval for the magnitude of the true image.

    If truth and samples come from the same posterior, the truth lies within ``t √(1 + 1/n) s`` of the mean of n samples
    with probability ``level``: the classical prediction interval, with Student's t of n − 1 degrees of freedom, which
    pays for knowing mean and spread from n samples alone.

    Parameters
    ----------
    samples
        ``(n, set, y, x)`` complex64, n > 1.
    level
        Probability, in (0, 1).

    Returns
    -------
    tuple[Tensor, Tensor]
        Lower and upper bound, ``(1, y, x)`` float32, not below zero.
    """
    own = combined_magnitude(samples).std(dim=0).to(torch.float32)
    centre, half = combined_magnitude(samples.mean(0)), interval_width(len(samples), level) * own
    return (centre - half).clamp_min(0), centre + half


def interval_width(count: int, level: float = LEVEL) -> float:
    """Return half the width of a prediction interval from ``count`` samples, in their standard deviations."""
    return student_quantile((1 + level) / 2, count - 1) * math.sqrt(1 + 1 / count)


def student_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's t distribution."""
    from scipy.stats import t

    return float(t.ppf(probability, degrees))


def coverage(interval: tuple[Tensor, Tensor], truth: Tensor, inside: Tensor) -> float:
    """Return the share of pixels ``inside`` (bool) whose true magnitude lies in the interval."""
    low, high = interval
    return float(((truth >= low) & (truth <= high))[inside].float().mean())


def rank_correlation(std: Tensor, error: Tensor, inside: Tensor) -> float:
    """Return Spearman's correlation of uncertainty with absolute error over the pixels ``inside`` (bool).

    A constant correlates with nothing: 0.
    """
    from scipy.stats import spearmanr

    if bool((std[inside] == std[inside][0]).all()) or bool((error[inside] == error[inside][0]).all()):
        return 0.0
    return float(spearmanr(std[inside].numpy(), error[inside].numpy()).statistic)
