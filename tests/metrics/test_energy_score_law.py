"""A linear model finds the exact posterior of hidden lines by the energy score, and entry by entry not all of it."""

import pytest
import torch

from rsd_med.metrics.energy_score import energy_score
from rsd_med.operators.mri import MultiCoilFourier

COVARIANCE = torch.tensor([[1.0, 0.6, 0.5], [0.6, 1.0, 0.8], [0.5, 0.8, 1.0]])
"""Of three columns of k-space, real; the first is always shown."""


def learned(group: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return gain and covariance of ``w y_0 + L z``, trained on pairs and single columns that were measured."""
    generator = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(COVARIANCE)
    gain = torch.zeros(2, requires_grad=True)
    spread = torch.tensor([[0.6, -0.4], [-0.4, 0.6]], requires_grad=True)  # correlated the wrong way
    optimiser = torch.optim.Adam([gain, spread], 0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 500)
    items = 512
    maps = torch.ones(items, 1, 1, 3, dtype=torch.complex64)
    for _ in range(500):
        truth = torch.randn(items, 3, generator=generator) @ root.T
        measured = torch.ones(items, 3, dtype=torch.bool)
        measured[torch.rand(items, generator=generator) < 0.3, 1] = False
        measured[:, 0] = False  # shown, not scored
        operator = MultiCoilFourier(measured.reshape(items, 1, 1, 3), maps)
        noise = torch.randn(items, 2, 2, generator=generator)
        draws = truth[:, None, :1] * gain + noise @ spread.T
        every = torch.cat([truth[:, None, :1].expand(-1, 2, -1), draws], -1)
        simulated = (every * measured[:, None]).reshape(items, 2, 1, 1, 3).to(torch.complex64)
        data = (truth * measured).reshape(items, 1, 1, 3).to(torch.complex64)
        loss = energy_score(simulated, data, operator, (group,)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return gain.detach(), (spread @ spread.T).detach()


def test_jointly_scored_lines_give_mean_and_covariance_of_the_posterior():
    gain, covariance = learned("image")
    exact_gain = COVARIANCE[1:, 0] / COVARIANCE[0, 0]
    exact = COVARIANCE[1:, 1:] - exact_gain[:, None] * COVARIANCE[None, 0, 1:]
    torch.testing.assert_close(gain, exact_gain, rtol=0, atol=0.04)
    torch.testing.assert_close(covariance, exact, rtol=0, atol=0.06)


def test_one_by_one_they_give_the_variances_alone():
    gain, covariance = learned("columns")
    exact_gain = COVARIANCE[1:, 0]
    exact = COVARIANCE[1:, 1:] - exact_gain[:, None] * COVARIANCE[None, 0, 1:]
    torch.testing.assert_close(gain, exact_gain, rtol=0, atol=0.04)
    torch.testing.assert_close(covariance.diagonal(), exact.diagonal(), rtol=0, atol=0.06)
    assert float(covariance[0, 1]) != pytest.approx(float(exact[0, 1]), abs=0.15)
