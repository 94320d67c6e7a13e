"""Prewhitening: virtual coils whose noise is uncorrelated and equally strong."""

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.calibration.noise import noise_sigma

_SMALLEST = 1e-6
"""Smallest eigenvalue of a usable covariance, as a fraction of the largest."""


def whitening_matrix(covariance: Tensor) -> Tensor:
    """Return W with W Ψ W^H = 2σ² 1, where σ² = tr Ψ / 2C is the mean noise power per real component.

    W = σ √2 Ψ^(-1/2), with the Hermitian root, which of all whitening transforms changes the coils least. The noise
    keeps its overall level and the data their units; a single coil, or coils with equal and uncorrelated noise, are
    left as they are.

    After W, noise of standard deviation σ per real component remains so under every unitary step: the orthonormal
    Fourier transform, and the combination with maps of Σ|S|² = 1. A covariance that is not divided by the number of
    samples, or one of E[n n^H] = 1 that is read as σ = 1, would break that by √n or √2.

    Parameters
    ----------
    covariance
        Ψ = E[n n^H], Hermitian, (coil, coil).

    Returns
    -------
    Tensor
        complex128, (coil, coil), Hermitian.

    Raises
    ------
    DataError
        If a combination of coils holds no noise, so that Ψ cannot be inverted.
    """
    covariance = covariance.to(torch.complex128)
    values, vectors = torch.linalg.eigh((covariance + covariance.mH) / 2)
    if not bool(values[-1] > 0) or bool(values[0] < _SMALLEST * values[-1]):
        raise DataError(
            "The noise covariance of the coils is singular: a coil is dead, or there were too few noise samples; leave "
            "the coil out, or do without whitening."
        )
    sigma = noise_sigma(covariance)
    return (vectors * (sigma * (2 / values).sqrt())) @ vectors.mH


def whiten(kspace: Tensor, covariance: Tensor) -> Tensor:
    """Combine the coils to virtual coils with uncorrelated noise of the mean level of the given ones.

    Parameters
    ----------
    kspace
        K-space or coil maps, complex64, (coil, ...); maps have to be normalised again.
    covariance
        Ψ = E[n n^H] of the noise, (coil, coil).

    Returns
    -------
    Tensor
        complex64, (coil, ...); what was zero in every coil stays zero.

    Raises
    ------
    DataError
        If the covariance is singular.
    """
    return combine_coils(whitening_matrix(covariance), kspace)


def combine_coils(matrix: Tensor, data: Tensor) -> Tensor:
    """Apply a matrix (new coil, coil) to the coils of data (coil, ...), complex64."""
    return torch.tensordot(matrix.to(torch.complex64), data.to(torch.complex64), dims=1)


def noise_correlation(covariance: Tensor) -> float:
    """Return the largest correlation between two coils' noise, |Ψ_ab| / √(Ψ_aa Ψ_bb); 0 for a single coil."""
    power = covariance.diagonal().real.clamp_min(torch.finfo(torch.float64).tiny)
    correlation = covariance.abs() / (power[:, None] * power).sqrt()
    return float(correlation.fill_diagonal_(0).max())
