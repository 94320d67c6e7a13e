"""A covariance that a minority of outliers cannot move."""

import torch
from torch import Tensor

_STEPS = 12

_REWEIGHTINGS = 3
"""The half that lies nearest is chosen after the fact, so of few samples it is too small: one reweighting does not undo
all of that."""


def robust_covariance(samples: Tensor) -> Tensor:
    """Return the covariance E[n n^H] of the Gaussian majority of complex samples.

    Concentration steps of the minimum covariance determinant (Rousseeuw and Van Driessen, Technometrics 41, 1999),
    then reweighting: the covariance of the half of the samples that lies nearest, by its own Mahalanobis distance,
    until that settles; then of all samples within the 97.5 % quantile. For circular complex Gaussian samples of C
    coils, d = n^H Ψ^-1 n follows Gamma(C, 1), and truncating it at its quantile q(p) shrinks the covariance by
    P(Gamma(C + 1) < q) / p, which is undone.

    Parameters
    ----------
    samples
        Complex, (coil, n), zero mean; n well above the number of coils.

    Returns
    -------
    Tensor
        Hermitian, complex128, (coil, coil). Zero if most samples are.
    """
    coils, count = samples.shape
    samples = samples.to(torch.complex128)
    size = samples.abs().median()
    if not bool(size > 0):
        size = samples.abs().max()
    if not bool(size > 0):
        return torch.zeros(coils, coils, dtype=torch.complex128, device=samples.device)
    samples = samples / size
    # To begin with, the coils are taken for uncorrelated, with the median of each for its size.
    power = samples.abs().square()
    distance = (power / power.median(1, keepdim=True).values.clamp_min(1e-12)).sum(0)
    half = (count + 1) // 2
    inliers = torch.empty(0, dtype=torch.long)
    covariance = torch.eye(coils, dtype=torch.complex128, device=samples.device)
    for _ in range(_STEPS):
        nearest = distance.argsort()[:half].sort().values
        if torch.equal(nearest, inliers):
            break
        inliers = nearest
        covariance = _covariance(samples[:, inliers]) / _shrinkage(coils, half / count)
        distance = _distance(samples, covariance)
    for _ in range(_REWEIGHTINGS):
        inside = distance <= _quantile(coils, 0.975)
        covariance = _covariance(samples[:, inside]) / _shrinkage(coils, 0.975)
        distance = _distance(samples, covariance)
    return covariance * size**2


def _covariance(samples: Tensor) -> Tensor:
    return samples @ samples.mH / max(samples.shape[1], 1)


def _distance(samples: Tensor, covariance: Tensor) -> Tensor:
    """Return the Mahalanobis distances (n,); a tiny ridge keeps a coil without noise from stopping everything."""
    coils = covariance.shape[0]
    ridge = 1e-9 * covariance.diagonal().real.mean().clamp_min(1e-30)
    factor = torch.linalg.cholesky(covariance + ridge * torch.eye(coils, device=samples.device))
    return torch.linalg.solve_triangular(factor, samples, upper=False).abs().square().sum(0)


def _quantile(coils: int, fraction: float) -> float:
    """Return the quantile of Gamma(coils, 1), by bisection."""
    shape = torch.tensor(float(coils), dtype=torch.float64)
    low, high = 0.0, 10.0 * coils + 50.0
    for _ in range(60):
        middle = (low + high) / 2
        if torch.special.gammainc(shape, torch.tensor(middle, dtype=torch.float64)) < fraction:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _shrinkage(coils: int, fraction: float) -> float:
    """Return by how much the covariance shrinks when only the nearest part of all samples is kept."""
    limit = torch.tensor(_quantile(coils, fraction), dtype=torch.float64)
    return float(torch.special.gammainc(torch.tensor(coils + 1.0, dtype=torch.float64), limit)) / fraction
