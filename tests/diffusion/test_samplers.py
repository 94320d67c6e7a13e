"""Samplers: exact on Gaussian laws, equal to the papers' algorithms written out, truncated where they must be."""

import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rsd_med.base.errors import ProtocolError
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.kinds import SAMPLERS
from rsd_med.diffusion.samplers.base import Fresh
from rsd_med.diffusion.samplers.guided import disagreement
from rsd_med.diffusion.samplers.heun import HeunSettings
from rsd_med.diffusion.schedules import karras_levels
from rsd_med.diffusion.view import View
from rsd_med.operators import SamplingMask

from .gaussian import GaussianDenoiser, MaskedGaussianDenoiser, generator

MEAN, STD = 0.3, 0.5


def noise(count=4, channels=1, side=4, seed=0):
    return torch.randn(count, channels, side, side, generator=generator(seed))


def walk(settings, z, data_sigma=0.0, seed=1):
    denoiser = GaussianDenoiser(MEAN, STD)
    view = View(context=torch.ones(len(z), 1, *z.shape[-2:]))
    fresh = Fresh(generator(seed), lambda: view)
    return settings.sample(denoiser, view, z, data_sigma, fresh), denoiser


def error(steps, z):
    """Largest distance to the exact solution, relative to the largest deviation from the mean."""
    found, denoiser = walk(HeunSettings(steps=steps), z)
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
    found, _ = walk(HeunSettings(steps=80), noise(512, side=16))
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
    found = HeunSettings(steps=steps).sample(
        lambda x, sigma, context: torch.tanh(x / sigma.reshape(-1, 1, 1, 1) ** 2),
        View(),
        z,
    )
    assert found.numpy() == pytest.approx(x, abs=1e-4)


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 7, 18])
@pytest.mark.parametrize("data_sigma", [0.0, 0.001, 0.2, 0.4, 100.0])
def test_the_number_of_calls_is_the_one_stated(kind, steps, data_sigma):
    settings = SAMPLERS[kind](steps=steps)
    found, denoiser = walk(settings, noise(1), data_sigma)
    assert len(denoiser.levels) == settings.calls(data_sigma)
    assert torch.isfinite(found).all()


def test_the_calls_of_edm():
    assert HeunSettings(steps=18).calls(0.2) == 35
    assert HeunSettings(steps=40).calls(0.2) == 79


def test_a_truncated_walk_stops_at_sigma_and_denoises():
    """At σ, not at σ²: no level below the data's noise is visited, though many lie between σ² and σ."""
    z, sigma = noise(), 0.2
    found, denoiser = walk(SAMPLERS["truncated"](steps=160), z, sigma)
    levels = karras_levels(160)
    lowest = float(levels[levels >= sigma].min())
    assert ((levels < sigma) & (levels > sigma**2)).sum() > 5
    assert min(denoiser.levels) == denoiser.levels[-1] == pytest.approx(lowest)
    exact = denoiser(denoiser.flow(80 * z, 80, lowest), torch.full((4,), lowest))
    assert torch.allclose(found, exact, atol=1e-3)
    # The posterior mean is smoother than the law: its deviation is s² / √(s² + σ²).
    wide, _ = walk(SAMPLERS["truncated"](steps=160), noise(256, side=16), sigma)
    assert float(wide.std()) == pytest.approx(STD**2 / (STD**2 + lowest**2) ** 0.5, rel=0.02)


def test_a_level_equal_to_sigma_is_visited():
    levels = karras_levels(18)
    _, denoiser = walk(SAMPLERS["truncated"](), noise(1), float(levels[9]))
    assert denoiser.levels[-1] == float(levels[9])


def test_the_full_walk_ignores_the_noise_of_the_data():
    z = noise()
    assert torch.equal(walk(HeunSettings(), z, 0.4)[0], walk(HeunSettings(), z, 0.0)[0])


def test_no_gradient_is_kept():
    z = noise().requires_grad_()
    assert not walk(HeunSettings(steps=3), z)[0].requires_grad


def test_the_view_is_held_for_the_whole_walk():
    shown, told = [], []
    context = torch.ones(2, 1, 4, 4)

    def denoiser(x, sigma, context):
        shown.append(x)
        told.append(context)
        return 0 * x

    half = SamplingMask((torch.arange(4) < 2).reshape(1, 1, 4))
    HeunSettings(steps=4).sample(denoiser, View(half, context), noise(2))
    assert len(told) == 7
    assert all(one is context for one in told)
    assert all(not x[..., 2:].any() and bool(x[..., :2].any()) for x in shown)


def test_a_further_call_denoises_what_the_first_has_made():
    """With the exact denoiser of images of variance s², both calls are products with known factors."""
    s, z = 0.5, torch.randn(2, 1, 6, 8, generator=torch.Generator().manual_seed(2))

    def exact(x, sigma, context=None):
        return x * (s**2 / (s**2 + sigma.reshape(-1, 1, 1, 1) ** 2))

    first = FewSteps(2.5)(exact, View(), z)
    moved = torch.roll(z, (3, 4), (-2, -1))
    assert (moved != z).all()
    twice = FewSteps(2.5, further_levels=(0.2,))
    torch.testing.assert_close(twice(exact, View(), z), s**2 / (s**2 + 0.04) * (first + 0.2 * moved))
    thrice = FewSteps(2.5, further_levels=(0.2, 0.1))
    again = torch.roll(moved, (3, 4), (-2, -1))
    torch.testing.assert_close(thrice(exact, View(), z), s**2 / (s**2 + 0.01) * (twice(exact, View(), z) + 0.1 * again))
    assert [FewSteps(2.5).calls, twice.calls, thrice.calls] == [1, 2, 3]


def test_one_step_is_the_denoiser_on_pure_noise():
    z = noise(3)
    denoiser = GaussianDenoiser(MEAN, STD)
    found = FewSteps(2.5)(denoiser, View(), z)
    assert denoiser.levels == [2.5]
    expected = denoiser(2.5 * z, torch.full((3,), 2.5))
    assert torch.equal(found, expected)
    wide = GaussianDenoiser(MEAN, 5.0)
    beyond = FewSteps(2.5)(wide, View(), z)
    assert beyond.abs().max() > 1
    assert torch.equal(FewSteps(2.5, clip=True)(wide, View(), z), beyond.clamp(-1, 1))


def test_churn_is_algorithm_2_of_edm():
    """Written out in float64, noise included, for a mixture of two points whose denoiser is not linear."""

    def denoise(x, sigma):
        return np.tanh(x / sigma**2)

    z, steps = noise(3, 2, seed=4), 12
    grid = np.append((80 ** (1 / 7) + np.arange(steps) / (steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7, 0.0)
    source, churned = generator(6), 0
    x = grid[0] * z.double().numpy()
    for i in range(steps):
        level = grid[i]
        if 0.05 <= level <= 50:
            level = grid[i] * (1 + min(3.0 / steps, np.sqrt(2) - 1))
            added = 1.003 * torch.randn(z.shape, generator=source).double().numpy()
            x = x + np.sqrt(level**2 - grid[i] ** 2) * added
            churned += 1
        slope = (x - denoise(x, level)) / level
        ahead = x + (grid[i + 1] - level) * slope
        if grid[i + 1] != 0:
            second = (ahead - denoise(ahead, grid[i + 1])) / grid[i + 1]
            ahead = x + (grid[i + 1] - level) * (0.5 * slope + 0.5 * second)
        x = ahead
    assert 0 < churned < steps
    found = SAMPLERS["stochastic"](steps=steps, churn=3.0).sample(
        lambda x, sigma, context: torch.tanh(x / sigma.reshape(-1, 1, 1, 1) ** 2),
        View(),
        z,
        fresh=Fresh(generator(6), View),
    )
    assert found.numpy() == pytest.approx(x, abs=1e-4)


def test_without_churn_the_stochastic_sampler_is_heun():
    z = noise()
    assert torch.equal(walk(SAMPLERS["stochastic"](churn=0.0), z)[0], walk(HeunSettings(), z)[0])


@pytest.mark.parametrize(("kind", "steps"), [("stochastic", 80), ("ancestral", 400)])
def test_stochastic_samples_of_a_gaussian_have_its_moments_and_forget_their_latents(kind, steps):
    z = noise(512, side=8)
    found, _ = walk(SAMPLERS[kind](steps=steps), z)
    other, _ = walk(SAMPLERS[kind](steps=steps), z, seed=2)
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(found.std()) == pytest.approx(STD, rel=0.02)
    assert abs(float(torch.stack([found.flatten(), other.flatten()]).corrcoef()[0, 1])) < 0.05


def test_ancestral_steps_have_the_variance_of_ddpm():
    """Closed form: a step multiplies deviations by g + r² (1 − g) and adds there² (1 − r²), for any number of steps."""
    levels = karras_levels(12).double().tolist()
    variance = levels[0] ** 2
    for here, there in itertools.pairwise(levels):
        gain, ratio2 = STD**2 / (STD**2 + here**2), (there / here) ** 2
        variance = (gain + ratio2 * (1 - gain)) ** 2 * variance + there**2 * (1 - ratio2)
    found, _ = walk(SAMPLERS["ancestral"](steps=12), noise(1024, side=8))
    assert float(found.std()) == pytest.approx(variance**0.5, rel=0.01)
    assert float(found.std()) < 0.97 * STD  # few steps lose spread, and the formula knows how much


ROW_MEAN = torch.tensor([0.5, -0.3, 0.1])
COVARIANCE = torch.tensor([[0.30, 0.20, -0.05], [0.20, 0.40, 0.10], [-0.05, 0.10, 0.20]])


def look(count, seed, chance=0.6):
    """A view that shows some pixels of a row."""
    mask = torch.rand(count, 1, 1, 3, generator=generator(seed)) < chance
    return View(SamplingMask(mask), mask.float())


def test_the_fixed_mask_sampler_draws_what_is_shown_and_infers_what_is_not():
    """The law of the shown pixels, and the mean of the hidden ones given them: with exact denoisers, and no more."""
    shown = torch.tensor([True, True, False]).expand(4000, 1, 1, 3)
    z = torch.randn(4000, 1, 1, 3, generator=generator())
    denoiser = MaskedGaussianDenoiser(ROW_MEAN, COVARIANCE)
    found = HeunSettings(steps=80).sample(denoiser, View(SamplingMask(shown), shown.float()), z)[:, 0, 0]
    assert torch.allclose(found.mean(0)[:2], ROW_MEAN[:2], atol=0.03)
    assert torch.allclose(found[:, :2].T.cov(), COVARIANCE[:2, :2], atol=0.03)
    regression = torch.linalg.solve(COVARIANCE[:2, :2], COVARIANCE[:2, 2])
    assert torch.allclose(found[:, 2], ROW_MEAN[2] + (found[:, :2] - ROW_MEAN[:2]) @ regression, atol=0.02)


def test_guidance_follows_the_gradient_of_the_disagreement_between_masks():
    x, level = torch.randn(5, 1, 1, 3, generator=generator()), torch.full((5,), 0.7)
    denoiser, view, others = MaskedGaussianDenoiser(ROW_MEAN, COVARIANCE), look(5, 1), [look(5, 2), look(5, 3)]

    def energy(x):
        gaps = [view.denoise(denoiser, x, level) - other.denoise(denoiser, x, level) for other in others]
        return 0.5 * sum(float(gap.double().square().sum()) for gap in gaps)

    estimate, gradient = disagreement(denoiser, view, others, x, level)
    assert torch.equal(estimate, view.denoise(denoiser, x, level))
    assert not estimate.requires_grad
    direction = torch.randn(x.shape, generator=generator(9))
    slope = (energy(x + 0.01 * direction) - energy(x - 0.01 * direction)) / 0.02
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-3)


def test_guided_walks_end_where_masks_agree_more():
    z = torch.randn(500, 1, 1, 3, generator=generator())
    denoiser, seeds = MaskedGaussianDenoiser(ROW_MEAN, COVARIANCE), iter(range(10, 20))
    fresh = Fresh(generator(), lambda: look(500, next(seeds)))
    view, judges = look(500, 1), [look(500, seed) for seed in range(30, 40)]

    def doubt(images):
        level = torch.full((500,), 0.05)
        return sum(float((images - judge.denoise(denoiser, images, level)).square().mean()) for judge in judges)

    plain = HeunSettings().sample(denoiser, view, z)
    guided = SAMPLERS["guided"](guidance=0.05).sample(denoiser, view, z, fresh=fresh)
    assert doubt(guided) < 0.95 * doubt(plain)
    assert not guided.requires_grad
    one = SAMPLERS["guided"](steps=1, masks=2).sample(denoiser, view, z, fresh=Fresh(generator(), lambda: judges[0]))
    level = torch.full((500,), 80.0)
    estimate, gradient = disagreement(denoiser, view, [judges[0], judges[0]], 80 * z, level)
    assert torch.allclose(one, estimate - 0.1 * gradient, atol=1e-4)


def test_guidance_needs_masks_and_chance_a_source():
    with pytest.raises(ProtocolError, match="whole images"):
        SAMPLERS["guided"]().sample(GaussianDenoiser(MEAN, STD), View(), noise(), fresh=Fresh(generator(), View))
    for kind in ("stochastic", "ancestral", "guided"):
        assert not SAMPLERS[kind]().deterministic
        with pytest.raises(ValueError, match="draw from"):
            SAMPLERS[kind]().sample(GaussianDenoiser(MEAN, STD), View(), noise())


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"sigma_min": 0.0}, {"rho": -1.0}, {"churn": 3.0}])
def test_impossible_samplers_are_refused(wrong):
    with pytest.raises(ValidationError):
        HeunSettings(**wrong)


def test_a_walk_visits_each_level_twice_but_the_first():
    _, denoiser = walk(HeunSettings(steps=6), noise(1))
    visits = [(float(level), sum(1 for _ in same)) for level, same in itertools.groupby(denoiser.levels)]
    assert [count for _, count in visits] == [1, 2, 2, 2, 2, 2]
    assert [level for level, _ in visits] == pytest.approx(karras_levels(6)[:-1].tolist())


def test_without_noise_truncated_is_heun():
    from rsd_med.diffusion.samplers.heun import HeunSettings
    from rsd_med.diffusion.samplers.truncated import TruncatedSettings

    truncated = TruncatedSettings(steps=7, rho=5.0)
    assert truncated.effective(0.0) == HeunSettings(steps=7, rho=5.0)
    assert truncated.effective(0.1) == truncated
    assert truncated.calls(0.0) == HeunSettings(steps=7).calls(0.0)
