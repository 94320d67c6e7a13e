"""The Heun sampler: exact on Gaussian laws, equal to the paper's algorithm written out, truncated where it must be."""

import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rsd_med.diffusion.samplers import SamplerSettings, one_step, sample
from rsd_med.diffusion.schedules import karras_levels
from rsd_med.diffusion.view import View

from .gaussian import GaussianDenoiser, generator

MEAN, STD = 0.3, 0.5


def noise(count=4, channels=1, side=4, seed=0):
    return torch.randn(count, channels, side, side, generator=generator(seed))


def walk(settings, z, data_sigma=0.0):
    denoiser = GaussianDenoiser(MEAN, STD)
    return sample(denoiser, View(), z, settings, data_sigma), denoiser


def error(steps, z):
    """Largest distance to the exact solution, relative to the largest deviation from the mean."""
    found, denoiser = walk(SamplerSettings(steps=steps), z)
    exact = denoiser.flow(80 * z, 80, 0)
    return float((found - exact).abs().max() / (exact - MEAN).abs().max())


def test_samples_follow_the_exact_probability_flow():
    z = noise()
    assert error(18, z) < 0.06
    assert error(80, z) < 3e-3
    assert error(320, z) < 2e-4


def test_the_error_is_of_second_order():
    z = noise()
    assert error(20, z) / error(40, z) == pytest.approx(4, rel=0.3)


def test_samples_of_a_gaussian_have_its_moments():
    found, _ = walk(SamplerSettings(steps=80), noise(512, side=16))
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(found.std()) == pytest.approx(STD, rel=0.01)


def test_the_sampler_is_algorithm_1_of_edm():
    """Written out in float64, for a mixture of two points whose denoiser is not linear."""

    def denoise(x, sigma):
        return np.tanh(x / sigma**2)

    z = noise(3, 2, seed=4)
    steps = 12
    grid = (80 ** (1 / 7) + np.arange(steps) / (steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    grid = np.append(grid, 0.0)
    x = grid[0] * z.double().numpy()
    for i in range(steps):
        slope = (x - denoise(x, grid[i])) / grid[i]
        ahead = x + (grid[i + 1] - grid[i]) * slope
        if grid[i + 1] != 0:
            second = (ahead - denoise(ahead, grid[i + 1])) / grid[i + 1]
            ahead = x + (grid[i + 1] - grid[i]) * (0.5 * slope + 0.5 * second)
        x = ahead
    found = sample(
        lambda x, sigma, context: torch.tanh(x / sigma.reshape(-1, 1, 1, 1) ** 2),
        View(),
        z,
        SamplerSettings(steps=steps),
    )
    assert found.numpy() == pytest.approx(x, abs=1e-4)


@pytest.mark.parametrize("kind", ["heun", "truncated"])
@pytest.mark.parametrize("steps", [1, 2, 7, 18])
@pytest.mark.parametrize("data_sigma", [0.0, 0.001, 0.2, 0.4, 100.0])
def test_the_number_of_calls_is_the_one_stated(kind, steps, data_sigma):
    settings = SamplerSettings(kind=kind, steps=steps)
    found, denoiser = walk(settings, noise(1), data_sigma)
    assert len(denoiser.levels) == settings.calls(data_sigma)
    assert torch.isfinite(found).all()


def test_the_calls_of_edm():
    assert SamplerSettings(steps=18).calls(0.2) == 35
    assert SamplerSettings(steps=40).calls(0.2) == 79


def test_a_truncated_walk_stops_at_sigma_and_denoises():
    """At σ, not at σ²: no level below the data's noise is visited, though many lie between σ² and σ."""
    z, sigma = noise(), 0.2
    found, denoiser = walk(SamplerSettings(kind="truncated", steps=160), z, sigma)
    levels = karras_levels(160)
    lowest = float(levels[levels >= sigma].min())
    assert ((levels < sigma) & (levels > sigma**2)).sum() > 5
    assert min(denoiser.levels) == denoiser.levels[-1] == pytest.approx(lowest)
    exact = denoiser(denoiser.flow(80 * z, 80, lowest), torch.full((4,), lowest))
    assert torch.allclose(found, exact, atol=1e-3)
    # The posterior mean is smoother than the law: its deviation is s² / √(s² + σ²).
    wide, _ = walk(SamplerSettings(kind="truncated", steps=160), noise(256, side=16), sigma)
    assert float(wide.std()) == pytest.approx(STD**2 / (STD**2 + lowest**2) ** 0.5, rel=0.02)


def test_a_level_equal_to_sigma_is_visited():
    levels = karras_levels(18)
    _, denoiser = walk(SamplerSettings(kind="truncated"), noise(1), float(levels[9]))
    assert denoiser.levels[-1] == float(levels[9])


def test_the_full_walk_ignores_the_noise_of_the_data():
    z = noise()
    assert torch.equal(walk(SamplerSettings(), z, 0.4)[0], walk(SamplerSettings(), z, 0.0)[0])


def test_no_gradient_is_kept():
    z = noise().requires_grad_()
    assert not walk(SamplerSettings(steps=3), z)[0].requires_grad


def test_the_view_is_held_for_the_whole_walk():
    shown, told = [], []
    context = torch.ones(2, 1, 4, 4)

    def denoiser(x, sigma, context):
        shown.append(x)
        told.append(context)
        return 0 * x

    def half(x):
        return x * (torch.arange(4) < 2)

    sample(denoiser, View(half, context), noise(2), SamplerSettings(steps=4))
    assert len(told) == 7
    assert all(one is context for one in told)
    assert all(not x[..., 2:].any() and bool(x[..., :2].any()) for x in shown)


def test_one_step_is_the_denoiser_on_pure_noise():
    z = noise(3)
    denoiser = GaussianDenoiser(MEAN, STD)
    found = one_step(denoiser, View(), z, 2.5)
    assert denoiser.levels == [2.5]
    assert torch.equal(found, denoiser(2.5 * z, torch.full((3,), 2.5)))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"sigma_min": 0.0}, {"rho": -1.0}, {"kind": "euler"}])
def test_impossible_samplers_are_refused(wrong):
    with pytest.raises(ValidationError):
        SamplerSettings(**wrong)


def test_a_walk_visits_each_level_twice_but_the_first():
    _, denoiser = walk(SamplerSettings(steps=6), noise(1))
    visits = [(float(level), sum(1 for _ in same)) for level, same in itertools.groupby(denoiser.levels)]
    assert [count for _, count in visits] == [1, 2, 2, 2, 2, 2]
    assert [level for level, _ in visits] == pytest.approx(karras_levels(6)[:-1].tolist())
