"""The kernel distance (KID): unbiased squared maximum mean discrepancy of features (arXiv:1801.01401, section 4)."""

import torch
from torch import Tensor

from rsd_med.base.errors import DataError


def polynomial_kernel(a: Tensor, b: Tensor) -> Tensor:
    """Return ``(a . b / D + 1)^3`` for all pairs of rows of ``a`` (N, D) and ``b`` (M, D): (N, M)."""
    return (a @ b.T / a.shape[1] + 1.0) ** 3


def unbiased_mmd2(a: Tensor, b: Tensor) -> float:
    """Return the unbiased estimate of MMD^2 under the cubic kernel (Gretton et al. 2012, equation 3).

    Parameters
    ----------
    a, b
        Float64 features ``(N, D)`` and ``(M, D)`` with N, M >= 2.

    Returns
    -------
    float
        The estimate; it may be slightly negative for equal distributions.
    """
    n, m = len(a), len(b)
    within_a, within_b = polynomial_kernel(a, a), polynomial_kernel(b, b)
    same_a = (within_a.sum() - within_a.diagonal().sum()) / (n * (n - 1))
    same_b = (within_b.sum() - within_b.diagonal().sum()) / (m * (m - 1))
    return float(same_a + same_b - 2.0 * polynomial_kernel(a, b).mean())


def kernel_distance(
    features_a: Tensor,
    features_b: Tensor,
    *,
    subsets: int | None = None,
    subset_size: int = 1000,
    generator: torch.Generator | None = None,
) -> float:
    """Return KID between two sets of features of one extractor.

    Parameters
    ----------
    features_a, features_b
        ``(N, D)`` and ``(M, D)``, real; computed in float64.
    subsets
        ``None`` uses all pairs at once, with N^2 memory; a number averages over that many random subsets, as the paper
        does with 100.
    subset_size
        Rows drawn without replacement from each set for a subset, at most the smaller set.
    generator
        A CPU generator for the subsets.

    Returns
    -------
    float
        The mean unbiased MMD^2, unscaled (many tables print 1000 times this).

    Raises
    ------
    DataError
        If a set has fewer than two rows, or the dimensions differ.
    ValueError
        If subsets are asked for without a generator.
    """
    if features_a.ndim != 2 or features_a.shape[1:] != features_b.shape[1:]:
        raise DataError(
            f"features of shapes {tuple(features_a.shape)} and {tuple(features_b.shape)} cannot be compared"
        )
    smaller = min(len(features_a), len(features_b))
    if smaller < 2:
        raise DataError(f"a kernel distance needs at least 2 images per set and has {smaller}; generate or supply more")
    a, b = features_a.detach().cpu().double(), features_b.detach().cpu().double()
    if subsets is None:
        return unbiased_mmd2(a, b)
    if generator is None:
        raise ValueError("random subsets need a generator")
    size = min(subset_size, smaller)
    draws = [
        unbiased_mmd2(
            a[torch.randperm(len(a), generator=generator)[:size]],
            b[torch.randperm(len(b), generator=generator)[:size]],
        )
        for _ in range(subsets)
    ]
    return sum(draws) / len(draws)
