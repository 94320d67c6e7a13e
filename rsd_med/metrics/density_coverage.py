"""Density and coverage (Naeem et al. 2020, arXiv:2002.09797, section 3).

Both put balls around the reference alone, each as wide as the distance to the k-th nearest neighbour there: a few stray
samples cannot widen the support, as they can in recall, and a stray reference image counts for one ball among many.
"""

from typing import NamedTuple

from torch import Tensor

from rsd_med.metrics.neighbours import hold, neighbour_radii

NEIGHBOURS = 5
"""The paper's k: of two equally large draws of one law, coverage is then about 1 - 2^-5 = 0.97 and density 1."""


class DensityCoverage(NamedTuple):
    """How crowded the reference is around a sample (1 for equal laws), and which share of it has a sample nearby."""

    density: float
    coverage: float


def density_coverage(samples: Tensor, reference: Tensor, k: int = NEIGHBOURS) -> DensityCoverage:
    """Return density and coverage of samples against a reference.

    Parameters
    ----------
    samples, reference
        Features of one extractor, real ``(N, D)`` and ``(M, D)``. Coverage falls with fewer samples.
    k
        The neighbour that sets the width of a ball.

    Returns
    -------
    DensityCoverage
        The mean number of reference balls that hold a sample, over ``k``; and the share of reference balls that hold
        a sample.

    Raises
    ------
    DataError
        If the reference has no more than ``k`` rows, a value is not finite, or the dimensions differ.
    """
    held = hold(samples, reference, neighbour_radii(reference, k))
    density = held.balls_per_point.double().mean() / k
    return DensityCoverage(float(density), float((held.points_per_ball > 0).double().mean()))
