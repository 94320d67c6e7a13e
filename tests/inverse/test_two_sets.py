"""Two sets of coil maps: solvers give the closed-form answer in both parts, or take the first set alone."""

from dataclasses import replace

import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings
from rsd_med.inverse.a_dps import ADPSSettings
from rsd_med.inverse.cg_sense import CGSenseSettings
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.inverse.one_step import AmbientOneStepSettings
from rsd_med.inverse.uncertainty import combined_magnitude
from rsd_med.operators.noise import complex_or_real_noise
from rsd_med.operators.soft_sense import SoftSense
from tests.inverse.scenes import ambient_prior, columns, gaussian_prior

STD, SIGMA, SIDE, COILS = 0.5, 0.1, 8, 4
MASK = columns(1, 2, 3, 4, 5, 7, size=SIDE)


@pytest.fixture(scope="module")
def scan():
    draws = generator_for(0, "two sets")
    image = STD * torch.view_as_complex(draws.normal(1, 2, SIDE, SIDE, 2))
    maps = torch.linalg.qr(torch.view_as_complex(draws.normal(SIDE, SIDE, COILS, 2, 2))).Q.permute(3, 2, 0, 1)
    operator = SoftSense(MASK, maps[None].contiguous())
    clean = operator(image)
    noise = complex_or_real_noise(clean, SIGMA, generator_for(0, "noise")) * MASK
    return Measurement(clean + noise, operator, torch.full((1,), SIGMA), torch.ones(1), ("wrapped",))


@pytest.fixture(scope="module")
def ridge(scan):
    """The mean of x given y for x ~ N(0, STD²): (A^H A + λ)⁻¹ A^H y with λ = σ² / STD², from the operator's matrix."""
    pixels = torch.eye(2 * SIDE**2, dtype=torch.complex64).reshape(-1, 2, SIDE, SIDE)
    one = SoftSense(scan.operator.mask[0], scan.operator.maps[0])
    matrix = torch.stack([one(pixel) for pixel in pixels], -1).reshape(-1, len(pixels)).to(torch.complex128)
    weighted = matrix.mH @ matrix + SIGMA**2 / STD**2 * torch.eye(len(pixels))
    return torch.linalg.solve(weighted, matrix.mH @ scan.data.flatten().to(torch.complex128)).reshape(2, SIDE, SIDE)


def test_cg_sense_solves_for_both_parts(scan, ridge):
    settings = CGSenseSettings(regularisation=SIGMA**2 / STD**2, iterations=200, tolerance=1e-7)
    result = settings.build()(scan, generator_for(0, "draw"))
    assert result.samples.shape == (1, 2, SIDE, SIDE)
    assert float((result.mean - ridge).norm() / ridge.norm()) < 1e-4
    assert torch.allclose(result.magnitude, combined_magnitude(ridge).float(), atol=1e-4)
    assert result.magnitude.shape == (1, SIDE, SIDE)


def test_l1_wavelet_without_a_penalty_explains_the_data_with_both_parts(scan):
    result = L1WaveletSettings(regularisation=0.0, iterations=200).build()(scan, generator_for(0, "draw"))
    assert result.samples.shape == (1, 2, SIDE, SIDE)
    assert result.residual.noise_ratio < 1


def test_a_dps_gives_the_posterior_of_both_parts(scan, ridge):
    settings = ADPSSettings(samples=64, batch=64, steps=30, sigma_min=0.01, sigma_max=20, image_std=STD)
    result = settings.build(gaussian_prior(STD, SIDE))(scan, generator_for(1, "draw"))
    assert result.samples.shape == (64, 2, SIDE, SIDE)
    assert float((result.mean - ridge).norm() / ridge.norm()) < 0.1
    assert result.std.shape == result.interval[0].shape == (1, SIDE, SIDE)


def test_a_prior_of_one_set_is_shown_the_parts_one_by_one(scan):
    corruption = MultiCoilFourierSettings(acceleration=2, acs_lines=2, further_lines=1).build()
    prior = replace(ambient_prior(SIDE), corruption=corruption)
    view = prior.training_view(scan, [generator_for(0, "a"), generator_for(0, "b")])
    images = generator_for(0, "image").normal(4, 2, SIDE, SIDE)
    assert view.project(images).shape == images.shape
    shown = view.projection.parts[0]  # Ã of each sample and set
    assert torch.equal(shown.maps[:2], scan.operator.maps[0])
    result = ADPSSettings(samples=2, steps=3).build(prior)(scan, generator_for(1, "draw"))
    assert result.samples.shape == (2, 2, SIDE, SIDE)


def test_a_method_of_one_set_takes_the_first(scan):
    result = AmbientOneStepSettings().build(gaussian_prior(STD, SIDE))(scan, generator_for(1, "draw"))
    assert result.samples.shape == (1, 1, SIDE, SIDE)
    assert not AmbientOneStepSettings.takes_sets
