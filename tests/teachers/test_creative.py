"""Creative training: clean images below its noise, one noisy copy above, and the same posterior mean from both."""

import pytest
import torch

from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions import Measurement, NoCorruption, NoiseSettings
from rsd_med.corruptions.measurement import GENERATED
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.operators import Identity
from rsd_med.teachers.ambient_tweedie import AmbientTweedie
from rsd_med.teachers.creative import Creative, CreativeSettings
from rsd_med.teachers.denoising import Denoising

from .toys import GaussianImages, LinearDenoiser, fit, generator, one_level, relative_error

SIGMA_N = 0.5


def named(images, names=None):
    count = len(images)
    names = names or tuple(f"image {i}" for i in range(count))
    return Measurement(images, Identity(), torch.zeros(count), torch.ones(count), names)


class Spy(LinearDenoiser):
    """Notes what it is shown."""

    def forward(self, x, sigma, context=None):
        self.noisy, self.sigma = x, sigma
        return super().forward(x, sigma, context)


@pytest.mark.parametrize("sigma", [0.3, 0.8])
def test_the_minimum_is_the_clean_posterior_mean(sigma):
    law = GaussianImages((1, 2, 2))
    denoiser = LinearDenoiser(law.shape)
    fit(Creative(NoCorruption(), one_level(sigma), SIGMA_N), denoiser, named(law.draw(20_000)))
    images = law.draw(1000, seed=9)
    noisy = images + sigma * torch.randn(images.shape, generator=generator(10))
    found = denoiser(noisy, torch.full((1000,), sigma)).detach()
    assert relative_error(found, law.posterior_mean(noisy, sigma), law.mean.reshape(law.shape)) < 0.04


def test_small_levels_see_the_image_and_large_ones_its_copy_alone():
    """An image enters the loss above the noise through its copy, which is the same in every epoch."""
    images = torch.full((4000, 1, 1, 1), 0.7)
    spy, objective = Spy((1, 1, 1)), Creative(NoCorruption(), LogNormalLevels(), SIGMA_N)
    measurement = named(images)
    copies = images + SIGMA_N * objective.unit_noise(images, measurement.ids, generator())
    noises = []
    for epoch in range(2):
        objective(spy, measurement, generator(epoch))
        above = spy.sigma >= SIGMA_N
        assert 0.3 < float(above.float().mean()) < 0.7
        added = spy.noisy - copies
        expected = (spy.sigma[above] ** 2 - SIGMA_N**2).sqrt()
        assert float((added.flatten()[above] / expected).std()) == pytest.approx(1, rel=0.05)
        # Below, x − y is the noise of the level: the copy plays no part.
        below = ((spy.noisy - images).flatten() / spy.sigma)[~above]
        assert float(below.std()) == pytest.approx(1, rel=0.05)
        noises.append(copies)
    assert torch.equal(*noises)
    assert float((copies - images).std()) == pytest.approx(SIGMA_N, rel=0.05)


def test_copies_follow_the_name_of_an_image_and_generations_are_met_once():
    objective = CreativeSettings(sigma=SIGMA_N).build(NoCorruption())
    like = torch.zeros(3, 2, 4, 4)
    noise = objective.unit_noise(like, ("a", "b", "a"), generator())
    again = objective.unit_noise(like, ("b", "c", "a"), generator(1))
    assert torch.equal(noise[0], noise[2])
    assert torch.equal(noise[1], again[0])
    assert torch.equal(noise[0], again[2])
    assert not torch.equal(noise[0], noise[1])
    generated = objective.unit_noise(like, (GENERATED,) * 3, generator())
    assert not torch.equal(generated[0], generated[1])
    assert not torch.equal(generated, objective.unit_noise(like, (GENERATED,) * 3, generator(1)))
    before = torch.random.get_rng_state()
    objective.unit_noise(like, ("a", "b", GENERATED), generator())
    assert torch.equal(before, torch.random.get_rng_state())


def test_both_branches_are_the_losses_they_are_made_of():
    law = GaussianImages((1, 2, 3))
    images = law.draw(6)
    denoiser = LinearDenoiser(law.shape)
    torch.nn.init.normal_(denoiser.gain, generator=generator(6))
    corruption = NoCorruption()
    generations = named(images, (GENERATED,) * 6)
    objective = Creative(corruption, one_level(0.2), SIGMA_N)
    found = objective(denoiser, generations, generator(7)).detach()
    source = generator(7)
    one_level(0.2).draw(6, source)
    torch.randn(images.shape, generator=source)
    noise = torch.randn(images.shape, generator=source)
    sigma = torch.full((6,), 0.2)
    expected = 0.7 / sigma * (denoiser(images + 0.2 * noise, sigma) - images).detach().square().sum((1, 2, 3))
    assert torch.allclose(found, expected, rtol=1e-4)
    objective = Creative(corruption, one_level(0.9), SIGMA_N)
    measurement = named(images)
    copies = images + SIGMA_N * objective.unit_noise(images, measurement.ids, generator())
    noisy = Measurement(copies, Identity(), torch.full((6,), SIGMA_N), torch.ones(6), measurement.ids)
    many = [objective(denoiser, measurement, generator(seed)).detach() for seed in range(400)]
    tweedie = AmbientTweedie(NoiseSettings(sigma=SIGMA_N).build(), one_level(0.9))
    other = [tweedie(denoiser, noisy, generator(1000 + seed)).detach() for seed in range(400)]
    assert torch.allclose(torch.stack(many).mean(0), torch.stack(other).mean(0), rtol=0.15)


def test_generations_are_observed_as_in_ordinary_denoising():
    objective = CreativeSettings().build(NoCorruption())
    assert isinstance(objective, Denoising)
    image = torch.randn(2, 1, 3, 3, generator=generator())
    assert torch.equal(objective.observe(image, Identity()), image)
    assert objective.transforms == "none"


def test_noisy_data_are_refused():
    with pytest.raises(ProtocolError, match="ambient_tweedie"):
        CreativeSettings().build(NoiseSettings(sigma=0.1).build())
