"""What every solver owes: the same for the same seed, progress, cancelling, honest residuals."""

import math

import pytest
import torch

from rsd_med.base.errors import DivergedError, ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.inverse.base import Solver, summarise
from rsd_med.inverse.consistency import LIMIT, consistency
from rsd_med.inverse.kinds import SOLVERS
from rsd_med.inverse.proximal import data_proximal, guess_variance, posterior_draws
from rsd_med.inverse.uncertainty import coverage, prediction_interval, spread, student_quantile
from rsd_med.inverse.zero_filled import ZeroFilledSettings
from rsd_med.operators.noise import complex_or_real_noise
from tests.inverse.scenes import (
    ambient_prior,
    columns,
    disc,
    gaussian_prior,
    measure,
    posterior,
    smooth_maps,
    untrained_reconstructor,
)

MASK = columns(*range(5, 11), 1, 14)
SHORT = {
    "cg_sense": {"iterations": 8},
    "l1_wavelet": {"iterations": 8},
    "sigpy_l1": {"iterations": 8},
    "sigpy_tv": {"iterations": 8},
    "one_step": {"samples": 2},
    "reconstructor": {"samples": 2},
    "a_dps": {"samples": 2, "steps": 3},
    "student_latent": {"samples": 2, "steps": 3},
    "student_pnp": {"samples": 2, "iterations": 3},
}


def measurement(sigma=0.02):
    return measure(disc(), MASK, smooth_maps(4), sigma)


def build(name):
    trained = untrained_reconstructor() if name == "reconstructor" else ambient_prior(sigma_init=2.5)
    return SOLVERS[name](**SHORT.get(name, {})).build(trained)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_same_seed_gives_the_same_result(name):
    state = torch.random.get_rng_state()
    first, second = (build(name)(measurement(), generator_for(0, "solve")) for _ in range(2))
    assert torch.equal(first.samples, second.samples)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.mean.shape == (1, 16, 16)
    assert first.mean.dtype == torch.complex64
    assert not first.samples.requires_grad


@pytest.mark.parametrize("name", SOLVERS)
def test_progress_rises_from_0_to_1(name):
    told = []
    build(name)(measurement(), generator_for(0, "solve"), told.append)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)
    assert len(told) > 2 or name in ("zero_filled", "one_step")


class StopError(Exception):
    """What a caller cancels with."""


@pytest.mark.parametrize("name", ["cg_sense", "l1_wavelet", "sigpy_tv", "a_dps", "student_latent", "student_pnp"])
def test_progress_cancels(name):
    def stop(done):
        if done > 0.2:
            raise StopError

    with pytest.raises(StopError):
        build(name)(measurement(), generator_for(0, "solve"), stop)


@pytest.mark.parametrize("name", ["student_latent", "student_pnp"])
def test_a_student_is_needed(name):
    with pytest.raises(ProtocolError, match="needs a student"):
        SOLVERS[name]().build(ambient_prior())


@pytest.mark.parametrize("name", ["student_latent", "student_pnp"])
def test_students_fit_the_measurement(name):
    """A generator that can show anything: the residual goes down to the noise."""
    prior = gaussian_prior(0.5, sigma_init=2.5)
    options = {"steps": 60} if name == "student_latent" else {"iterations": 20, "steps": 3}
    found = SOLVERS[name](samples=2, **options).build(prior)(measurement(), generator_for(0, "solve"))
    assert found.residual.explains
    assert float((found.mean - disc()[0]).norm() / disc().norm()) < 0.5


def test_one_slice_of_kspace_at_a_time():
    two = measurement()[torch.zeros(2, dtype=torch.long)]
    with pytest.raises(ValueError, match="one slice"):
        build("cg_sense")(two, generator_for(0, "solve"))


@pytest.mark.parametrize("name", SOLVERS)
def test_what_no_coil_sees_stays_dark(name):
    """Maps end where calibration found air: a prior or a start at random must not fill it."""
    maps = smooth_maps(4)
    maps[:, :, :3] = 0
    found = build(name)(measure(disc(), MASK, maps, 0.02), generator_for(0, "solve"))
    assert bool((found.samples[..., :3] == 0).all())
    assert bool((found.samples[..., 3:] != 0).any())


def test_a_result_that_is_not_finite_is_an_error():
    class Broken(Solver):
        def solve(self, measurement, generator, progress):
            return measurement.image() * math.nan

    with pytest.raises(DivergedError, match="scene"):
        Broken(ZeroFilledSettings())(measurement(), generator_for(0, "solve"))


# --- residual -------------------------------------------------------------------------------------------------------


def test_the_truth_leaves_the_noise():
    """One in the residual's unit: on average over draws, and not by the factor √2 of complex numbers."""
    ratios = [
        consistency(disc()[0], measure(disc(), MASK, smooth_maps(4), 0.03, seed=seed)).noise_ratio for seed in range(20)
    ]
    assert sum(ratios) / 20 == pytest.approx(1, abs=0.02)
    assert consistency(disc()[0], measurement()).explains


def test_what_does_not_explain_the_measurement_is_flagged():
    found = consistency(0.7 * disc()[0], measurement())
    assert found.noise_ratio > LIMIT
    assert not found.explains
    assert "NOT" in found.sentence()


def test_without_a_noise_level_the_relative_residual_decides():
    exact = measurement(sigma=0.0)
    assert consistency(disc()[0], exact).noise_ratio is None
    assert consistency(disc()[0], exact).explains
    assert not consistency(0.7 * disc()[0], exact).explains


# --- the measurement as a proximal map, and its draws ---------------------------------------------------------------


def test_the_proximal_map_is_the_posterior_mean():
    scan = measure(disc(8), columns(2, 3, 4, 5, 7, size=8), smooth_maps(3, 8), 0.1)
    mean, _ = posterior(scan, 0.5)
    found = data_proximal(torch.zeros(1, 1, 8, 8, dtype=torch.complex64), torch.full((1, 1, 1, 1), 0.25), scan, 60)
    assert float((found[0, 0] - mean).norm() / mean.norm()) < 5e-3


def test_draws_have_the_posterior_covariance():
    scan = measure(disc(8), columns(2, 3, 4, 5, 7, size=8), smooth_maps(3, 8), 0.1)
    mean, covariance = posterior(scan, 0.5)
    many = scan[torch.zeros(600, dtype=torch.long)]
    generators = [generator_for(0, "draw", number) for number in range(600)]
    guess = torch.zeros(600, 1, 8, 8, dtype=torch.complex64)
    draws = posterior_draws(guess, torch.full((600, 1, 1, 1), 0.25), many, generators)[:, 0]
    assert float((draws.mean(0) - mean).norm() / mean.norm()) < 5e-3  # pairs of opposite sign: no error of sampling
    deviation = (draws - draws.mean(0)).flatten(1).to(torch.complex128)
    empirical = deviation.T @ deviation.conj() / (2 * len(draws))
    assert float(empirical.diagonal().real.sum() / covariance.diagonal().real.sum()) == pytest.approx(1, abs=0.05)


def test_the_error_of_a_guess_is_found_from_its_residual():
    truth, scan = (
        disc(64),
        measure(disc(64), columns(*range(24, 40), *range(0, 24, 4), size=64), smooth_maps(4, 64), 0.01),
    )
    for error in (0.05, 0.3):
        guess = truth + complex_or_real_noise(truth, error, generator_for(0, "guess"))
        assert float(guess_variance(guess, scan).mean()) == pytest.approx(error**2, rel=0.2)


# --- intervals ------------------------------------------------------------------------------------------------------


def test_students_t():
    assert student_quantile(0.95, 7) == pytest.approx(1.894579, abs=1e-5)


@pytest.mark.parametrize("count", [4, 16])
def test_the_interval_covers_a_draw_from_the_same_law_as_often_as_it_says(count):
    """Truth and samples exchangeable: 90 % of 4,096 pixels, within sampling error, few samples or many."""
    draws = 10 + torch.randn(count + 1, 1, 64, 64, generator=generator_for(0, "draws"))
    interval = prediction_interval(draws[1:].to(torch.complex64), 0.9)
    assert coverage(interval, draws[0], torch.ones(1, 64, 64, dtype=torch.bool)) == pytest.approx(0.9, abs=0.02)


def test_a_single_sample_claims_no_uncertainty():
    found = summarise(disc(), measurement(), 0.0)
    assert found.std is None
    assert found.interval is None


def test_a_map_of_uncertainty_averages_variances_and_the_interval_does_not():
    """A constant deviation stays itself, also at the border; a lonely uncertain pixel is shared by nine."""
    generator = torch.Generator().manual_seed(0)
    samples = 5 + 0.1 * torch.randn(4000, 1, 8, 8, generator=generator) + 0j
    assert torch.allclose(spread(samples), torch.full((1, 8, 8), 0.1), rtol=0.03)
    lonely = torch.full((64, 1, 8, 8), 5 + 0j)
    lonely[::2, :, 4, 4] = 8
    variance = lonely[:, 0, 4, 4].abs().var()
    assert torch.allclose(spread(lonely)[0, 3:6, 3:6], (variance / 9).sqrt())
    assert spread(lonely)[0, 4, 6] == 0
    low, high = prediction_interval(lonely)
    assert (high - low)[0, 4, 4] > 1
    assert (high - low)[0, 4, 5] == 0
