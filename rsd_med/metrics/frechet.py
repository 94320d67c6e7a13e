"""The Fréchet distance between Gaussians fitted to features (Heusel et al. 2017, arXiv:1706.08500, equation 6)."""

import logging
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from rsd_med.base.errors import DataError

_log = logging.getLogger(__name__)


def minimum_samples(dimension: int) -> int:
    """Return how many samples per set a Fréchet distance in ``dimension`` features needs at the least.

    With N <= D the covariance is singular; its bias, which adds to the distance, falls as D / N, and at N = 2 D the
    ordering of models is usually right though the value is not.

    Parameters
    ----------
    dimension
        D, the number of features.

    Returns
    -------
    int
        ``2 * dimension``.
    """
    return 2 * dimension


@cache
def _warn_of_few(count: int, dimension: int) -> None:
    """Warn, once for each number of images: training asks for the same distance again and again."""
    _log.warning(
        "%d images are too few for a Fréchet distance of %d features, biased upwards: use %d or more",
        count,
        dimension,
        minimum_samples(dimension),
    )


@dataclass(frozen=True)
class ReferenceStatistics:
    """Mean and covariance of the features of one set of images.

    Attributes
    ----------
    mean
        Float64 ``(D,)``.
    covariance
        Float64 ``(D, D)``, normalised by ``count - 1``.
    count
        The number of images behind them.
    features_name
        The name of the extractor; statistics of different extractors are never compared.
    """

    mean: Tensor
    covariance: Tensor
    count: int
    features_name: str

    @classmethod
    def of(cls, features: Tensor, features_name: str) -> "ReferenceStatistics":
        """Summarise features ``(N, D)`` in float64; N <= D is logged as a warning, once for each number.

        Raises
        ------
        DataError
            If they are not a matrix of at least two finite rows.
        """
        if features.ndim != 2:
            raise DataError(f"features of a set must be a matrix (N, D), not of shape {tuple(features.shape)}")
        count, dimension = features.shape
        if count < 2:
            raise DataError(
                f"a Fréchet distance needs at least 2 images per set and has {count}; generate or supply more"
            )
        if not bool(torch.isfinite(features).all()):
            raise DataError(f"the {features_name} features contain NaN or infinity; check the images for them")
        if count <= dimension:
            _warn_of_few(count, dimension)
        wide = features.detach().cpu().double()
        mean = wide.mean(0)
        centred = wide - mean
        return cls(mean, centred.T @ centred / (count - 1), count, features_name)

    def distance(self, other: "ReferenceStatistics") -> float:
        """Return the Fréchet distance to other statistics of the same extractor.

        Raises
        ------
        DataError
            If the other statistics come from another extractor.
        """
        if self.features_name != other.features_name or self.mean.shape != other.mean.shape:
            raise DataError(
                f"statistics of '{self.features_name}' and '{other.features_name}' cannot be compared; "
                "compute both with one feature extractor"
            )
        return gaussian_distance(self.mean, self.covariance, other.mean, other.covariance)


def gaussian_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """Return the squared 2-Wasserstein distance between two Gaussians (Dowson and Landau 1982).

    ``|mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2)``: the symmetric product has real eigenvalues that
    are non-negative up to rounding, so that no complex square root of a near-singular matrix is ever taken.

    Parameters
    ----------
    mean_a, mean_b
        ``(D,)``.
    covariance_a, covariance_b
        ``(D, D)``, symmetric and positive semi-definite; they may be singular.

    Returns
    -------
    float
        The distance, at least 0, in squared units of the features.
    """
    covariance_a, covariance_b = covariance_a.double(), covariance_b.double()
    values, vectors = torch.linalg.eigh(covariance_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root @ covariance_b @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    shift = (mean_a.double() - mean_b.double()).square().sum()
    return max(0.0, float(shift + covariance_a.trace() + covariance_b.trace() - 2 * cross))


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """Return the Fréchet distance between two sets of features of one extractor.

    Parameters
    ----------
    features_a, features_b
        ``(N, D)`` and ``(M, D)``, real; computed in float64.

    Returns
    -------
    float
        The distance, at least 0, in squared units of the features.

    Raises
    ------
    DataError
        If a set has fewer than two rows, a value is not finite, or the dimensions differ.
    """
    if features_a.shape[1:] != features_b.shape[1:]:
        raise DataError(f"features of {features_a.shape[-1]} and {features_b.shape[-1]} dimensions cannot be compared")
    return ReferenceStatistics.of(features_a, "same").distance(ReferenceStatistics.of(features_b, "same"))
