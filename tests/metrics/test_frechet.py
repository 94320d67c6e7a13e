import logging

import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.metrics import frechet
from rsd_med.metrics.frechet import ReferenceStatistics, frechet_distance, gaussian_distance, minimum_samples
from tests.metrics.damage import generator


def spd(dimension: int, seed: int, rank: int | None = None) -> torch.Tensor:
    root = torch.randn(dimension, rank or dimension, generator=generator(seed), dtype=torch.float64)
    return root @ root.T / dimension


def test_commuting_gaussians_have_a_closed_form():
    mean_a, mean_b = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 1.0, 0.5])
    std_a, std_b = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 0.5, 0.25])
    expected = (mean_a - mean_b).square().sum() + (std_a - std_b).square().sum()
    found = gaussian_distance(mean_a, torch.diag(std_a**2), mean_b, torch.diag(std_b**2))
    assert found == pytest.approx(float(expected), rel=1e-12)


def test_two_by_two_has_a_closed_form():
    a, b = spd(2, 1), spd(2, 2)
    # Tr sqrt(M) = sqrt(Tr M + 2 sqrt(det M)) for a 2x2 matrix with positive eigenvalues.
    cross = ((a @ b).trace() + 2 * torch.linalg.det(a @ b).sqrt()).sqrt()
    found = gaussian_distance(torch.zeros(2), a, torch.zeros(2), b)
    assert found == pytest.approx(float(a.trace() + b.trace() - 2 * cross), rel=1e-12)


@pytest.mark.parametrize("dimension", [5, 48])
def test_agrees_with_scipy_sqrtm(dimension):
    linalg = pytest.importorskip("scipy.linalg")
    a, b = spd(dimension, 3), spd(dimension, 4)
    shift = torch.linspace(-1, 1, dimension, dtype=torch.float64)
    root = linalg.sqrtm(a.numpy() @ b.numpy())
    expected = float(shift @ shift) + np.trace(a.numpy() + b.numpy() - 2 * root.real)
    assert gaussian_distance(shift, a, torch.zeros(dimension), b) == pytest.approx(expected, rel=1e-9)


def test_singular_covariances_stay_finite_and_symmetric():
    a, b = spd(20, 5, rank=3), spd(20, 6, rank=4)
    zero = torch.zeros(20)
    forth, back = gaussian_distance(zero, a, zero, b), gaussian_distance(zero, b, zero, a)
    assert np.isfinite(forth)
    assert forth == pytest.approx(back, rel=1e-6)
    assert gaussian_distance(zero, a, zero, a) == pytest.approx(0, abs=1e-6)
    assert gaussian_distance(zero, torch.zeros(20, 20), zero, b) == pytest.approx(float(b.trace()), rel=1e-12)


def test_sets_match_numpy_statistics_and_order_does_not_matter():
    a = torch.randn(300, 6, generator=generator(7), dtype=torch.float64)
    b = 2 * torch.randn(200, 6, generator=generator(8), dtype=torch.float64) + 1
    statistics = ReferenceStatistics.of(a, "toy")
    np.testing.assert_allclose(statistics.covariance, np.cov(a.numpy(), rowvar=False), rtol=1e-12)
    assert statistics.count == 300
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a.flip(0)), rel=1e-10)
    assert frechet_distance(a, b) == pytest.approx(6 + 6 * (2 - 1) ** 2, rel=0.15)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)


def test_float32_features_far_from_zero_lose_nothing():
    a = torch.randn(400, 4, generator=generator(9)) + 1000
    assert frechet_distance(a, a + 2) == pytest.approx(16, rel=1e-3)


def test_too_few_samples_are_refused_or_told(caplog):
    frechet._warn_of_few.cache_clear()
    with pytest.raises(DataError, match="at least 2 images"):
        frechet_distance(torch.zeros(1, 4), torch.zeros(5, 4))
    with caplog.at_level(logging.WARNING):
        ReferenceStatistics.of(torch.randn(4, 4, generator=generator(1)), "toy-4")
    assert "4 images are too few for a Fréchet distance of 4 features, biased" in caplog.text
    assert f"use {minimum_samples(4)} or more" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ReferenceStatistics.of(torch.randn(5, 4, generator=generator(1)), "toy-4")
    assert not caplog.text


def test_what_cannot_be_compared_is_refused():
    features = torch.randn(9, 3, generator=generator(2))
    with pytest.raises(DataError, match="'a' and 'b' cannot be compared"):
        ReferenceStatistics.of(features, "a").distance(ReferenceStatistics.of(features, "b"))
    with pytest.raises(DataError, match="3 and 2 dimensions"):
        frechet_distance(features, features[:, :2])
    with pytest.raises(DataError, match="NaN or infinity"):
        frechet_distance(features, features.index_fill(0, torch.tensor([1]), float("nan")))
    with pytest.raises(DataError, match="matrix"):
        ReferenceStatistics.of(torch.zeros(9), "a")
