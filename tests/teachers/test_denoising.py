"""Ordinary denoising: its minimum is the posterior mean of the measurements as they are."""

import pytest
import torch

from rsd_med.corruptions import Measurement, MultiCoilFourierSettings, NoCorruption, NoiseSettings
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.operators import Identity, MultiCoilFourier, to_channels, to_complex
from rsd_med.teachers.denoising import Denoising, DenoisingSettings
from tests.operators.contracts import random_maps

from .toys import GaussianImages, LinearDenoiser, fit, generator, measure, one_level, relative_error

COUNT = 30_000


def fitted(objective, shape, measurement):
    denoiser = LinearDenoiser(shape)
    fit(objective, denoiser, measurement)
    return denoiser


@pytest.mark.parametrize("sigma", [0.3, 1.5])
@pytest.mark.parametrize(("shape", "complex_images"), [((1, 2, 2), False), ((2, 1, 2), True)])
def test_the_minimum_is_the_posterior_mean(shape, complex_images, sigma):
    law = GaussianImages(shape)
    measurement = measure(law.draw(COUNT), complex_images=complex_images)
    denoiser = fitted(Denoising(NoCorruption(), one_level(sigma)), shape, measurement)
    noisy = law.draw(1000, seed=9) + sigma * torch.randn((1000, *shape), generator=generator(10))
    found = denoiser(noisy, torch.full((1000,), sigma)).detach()
    assert relative_error(found, law.posterior_mean(noisy, sigma), law.mean.reshape(shape)) < 0.03


def test_undersampled_scans_are_modelled_as_their_zero_filled_images():
    """Under one fixed mask, A^H A x is Gaussian; its posterior mean is the minimum."""
    sigma, shape = 0.4, (2, 1, 4)
    law = GaussianImages(shape)
    mask = torch.tensor([True, False, True, True])[None, None, None].expand(COUNT, 1, 1, 4)
    maps = random_maps((1, 2, 1, 4), torch.complex64)
    operator = MultiCoilFourier(mask, maps.expand(COUNT, 2, 1, 4))
    images = law.draw(COUNT)
    measurement = Measurement(
        operator(to_complex(images)), operator, torch.zeros(COUNT), torch.ones(COUNT), ("toy",) * COUNT
    )
    corruption = MultiCoilFourierSettings(acceleration=4 / 3, acs_lines=2).build()
    objective = Denoising(corruption, one_level(sigma))
    assert torch.equal(objective.observe(images, operator), to_channels(operator.normal(to_complex(images))))
    denoiser = fitted(objective, shape, measurement)

    single = operator[:1]
    basis = to_complex(torch.eye(8).reshape(8, *shape))
    columns = [to_channels(single.normal(one[None])).flatten() for one in basis]
    projection = torch.stack(columns, dim=1).double()
    projected = GaussianImages(shape)
    projected.mean = projection @ law.mean
    projected.covariance = projection @ law.covariance @ projection.T
    seen = to_channels(operator[:1000].normal(to_complex(law.draw(1000, seed=9))))
    noisy = seen + sigma * torch.randn(seen.shape, generator=generator(10))
    found = denoiser(noisy, torch.full((1000,), sigma)).detach()
    assert relative_error(found, projected.posterior_mean(noisy, sigma), projected.mean.reshape(shape)) < 0.04


def test_the_loss_is_summed_over_the_pixels_and_weighted():
    law = GaussianImages((3, 2, 2))
    measurement = measure(law.draw(4))
    denoiser = LinearDenoiser(law.shape)
    found = Denoising(NoCorruption(), LogNormalLevels())(denoiser, measurement, generator(7))
    sigma = LogNormalLevels().draw(4, generator(7))
    assert found.shape == (4,)
    assert torch.allclose(found, 0.7 / sigma * measurement.data.square().sum((1, 2, 3)))


def test_images_are_observed_as_they_are():
    image = torch.randn(2, 2, 3, 3, generator=generator())
    assert torch.equal(Denoising(NoiseSettings(sigma=0.1).build(), LogNormalLevels()).observe(image, Identity()), image)
    assert isinstance(DenoisingSettings().build(NoiseSettings(sigma=0.1).build()), Denoising)
