"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991, section 2).

The support of a set of images is taken to be the union of balls, each around an image and as wide as the distance to
its k-th nearest neighbour in the same set.
"""

from typing import NamedTuple

from torch import Tensor

from rsd_med.metrics.neighbours import hold, neighbour_radii

NEIGHBOURS = 3
"""The paper's k."""


class PrecisionRecall(NamedTuple):
    """How much of what is generated looks real, and how much of what is real is generated; both from 0 to 1."""

    precision: float
    recall: float


def precision_recall(samples: Tensor, reference: Tensor, k: int = NEIGHBOURS) -> PrecisionRecall:
    """Return precision and recall of samples against a reference (equations 1 and 2).

    Parameters
    ----------
    samples, reference
        Features of one extractor, real ``(N, D)`` and ``(M, D)``. Two draws of one law stay below 1, the more so the
        fewer images and the more features there are: numbers of equal counts and one extractor compare, no others.
    k
        The neighbour that sets the width of a ball.

    Returns
    -------
    PrecisionRecall
        The share of samples inside the support of the reference, and of the reference inside that of the samples.

    Raises
    ------
    DataError
        If a set has no more than ``k`` rows, a value is not finite, or the dimensions differ.
    """
    return PrecisionRecall(_inside(samples, reference, k), _inside(reference, samples, k))


def _inside(points: Tensor, support: Tensor, k: int) -> float:
    held = hold(points, support, neighbour_radii(support, k))
    return float((held.balls_per_point > 0).double().mean())
