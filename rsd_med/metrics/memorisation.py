"""Does a generator repeat its training set? How near samples come to it, against how near unseen images come.

Every image has a nearest training measurement, and dull images are near to many. What marks a copy is that one
measurement is much nearer than the others: the distance to the nearest over the mean distance to those that follow
(Carlini et al. 2023, arXiv:2301.13188, divide by the mean over the nearest alike). How small is suspicious is not
supposed but measured, on images that the generator cannot have copied.
"""

import math
from typing import TypedDict

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.metrics.nearest_measurements import Nearest

NEIGHBOURS = 20
"""The nearest measurement, and those that it is compared with."""

CHANCE = 0.01
"""Share of unseen images that are allowed to look like a copy."""

LISTED = 64
"""Near-copies that are named at most; the nearest pairs come first."""


class Pair(TypedDict):
    """A sample and its nearest training measurement, by their numbers alone."""

    sample: int
    measurement: int
    distance: float
    nearness: float


class Memorisation(TypedDict):
    """What an audit found.

    Attributes
    ----------
    near_copies, num_samples, share, share_low, share_high
        Samples whose nearness is below the threshold, and their share with Wilson's 95 % interval.
    threshold, num_held_out, expected_share
        The nearness below which at most one percent of the held-out images lie, how many there were, and the share of
        near-copies expected of a generator that draws from the law of the held-out images.
    p_value
        The probability that such a generator has as many near-copies or more.
    pairs
        The near-copies, nearest first, at most `LISTED`; the eight nearest samples where there are fewer.
    """

    near_copies: int
    num_samples: int
    share: float
    share_low: float
    share_high: float
    threshold: float
    num_held_out: int
    expected_share: float
    p_value: float
    pairs: list[Pair]


def nearness(nearest: Nearest) -> Tensor:
    """Return the distance to the nearest measurement over the mean distance to the others found, float64 ``(N,)``.

    About 1 where nothing stands out, 0 for a copy; also 0 where all that were found are copies alike.
    """
    first, others = nearest.distances[:, 0], nearest.distances[:, 1:].mean(1)
    return torch.where(others > 0, first / others.clamp_min(torch.finfo(others.dtype).tiny), 0.0)


def audit(samples: Nearest, held_out: Nearest) -> Memorisation:
    """Judge how near samples come to the training set, by how near held-out images come.

    Parameters
    ----------
    samples, held_out
        Nearest training measurements of the samples, and of images that the generator has not seen, found alike.

    Returns
    -------
    Memorisation
        The threshold is the order statistic k + 1 of the held-out nearness, with k = 1 % of their number: under equal
        laws a sample falls below it with probability (k + 1) / (H + 1), and the number of samples that do follows the
        negative hypergeometric distribution, whatever the law.

    Raises
    ------
    DataError
        If there are no samples or no held-out images, or fewer than two neighbours to each.
    """
    from scipy.stats import binomtest, hypergeom

    for nearest in (samples, held_out):
        if len(nearest.distances) == 0 or nearest.distances.shape[1] < 2:
            raise DataError(
                "an audit of memorisation needs samples, held-out images and at least two training measurements"
            )
    drawn, unseen = nearness(samples), nearness(held_out)
    allowed = math.floor(CHANCE * len(unseen))
    threshold = unseen.sort().values[allowed]
    copies = int((drawn < threshold).sum())
    total = len(drawn)
    share = binomtest(copies, total).proportion_ci(0.95, method="wilson")
    # At least c samples before held-out image k + 1: at most k held-out images among the first c + k of all.
    chance = hypergeom.cdf(allowed, total + len(unseen), len(unseen), copies + allowed)
    order = drawn.argsort()[: min(LISTED, max(copies, 8))].tolist()
    return Memorisation(
        near_copies=copies,
        num_samples=total,
        share=copies / total,
        share_low=float(share.low),
        share_high=float(share.high),
        threshold=float(threshold),
        num_held_out=len(unseen),
        expected_share=(allowed + 1) / (len(unseen) + 1),
        p_value=float(chance),
        pairs=[
            Pair(
                sample=sample,
                measurement=int(samples.indices[sample, 0]),
                distance=float(samples.distances[sample, 0]),
                nearness=float(drawn[sample]),
            )
            for sample in order
        ],
    )
