"""Ambient Tweedie: its minimum is the clean posterior mean, and no draw is wasted."""

import math

import pytest
import torch
from scipy import stats

from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions import GaussianNoise, NoCorruption
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.operators import Identity
from rsd_med.teachers.ambient_tweedie import AmbientTweedie, AmbientTweedieSettings
from rsd_med.teachers.denoising import Denoising

from .toys import GaussianImages, LinearDenoiser, fit, generator, measure, one_level, relative_error

SIGMA_N = 0.4
COUNT = 40_000


def noisy_at(law, sigma):
    """Fresh images with the total noise σ."""
    images = law.draw(1000, seed=9)
    return images + sigma * torch.randn(images.shape, generator=generator(10))


def fitted(objective, law, complex_images):
    denoiser = LinearDenoiser(law.shape)
    measurement = measure(law.draw(COUNT), SIGMA_N, complex_images)
    fit(objective, denoiser, measurement)
    return denoiser


@pytest.mark.parametrize("sigma", [0.6, 1.5])
@pytest.mark.parametrize(("shape", "complex_images"), [((1, 2, 2), False), ((2, 1, 2), True)])
def test_the_minimum_is_the_clean_posterior_mean(shape, complex_images, sigma):
    law = GaussianImages(shape)
    objective = AmbientTweedie(GaussianNoise(SIGMA_N), one_level(sigma))
    noisy = noisy_at(law, sigma)
    found = fitted(objective, law, complex_images)(noisy, torch.full((len(noisy),), sigma)).detach()
    expected = law.posterior_mean(noisy, sigma)
    assert relative_error(found, expected, law.mean.reshape(shape)) < 0.025


def test_ordinary_denoising_of_the_same_data_would_learn_the_noisy_images():
    """The toy can tell: the plain objective, at the same total noise, ends at the mean of y."""
    law, sigma = GaussianImages((1, 2, 2)), 0.6
    objective = Denoising(GaussianNoise(SIGMA_N), one_level(math.sqrt(sigma**2 - SIGMA_N**2)))
    noisy = noisy_at(law, sigma)
    found = fitted(objective, law, complex_images=False)(noisy, torch.full((len(noisy),), sigma)).detach()
    clean = law.posterior_mean(noisy, sigma)
    share = (SIGMA_N / sigma) ** 2
    mean = law.mean.reshape(law.shape)
    assert relative_error(found, (1 - share) * clean + share * noisy, mean) < 0.025
    assert relative_error(found, clean, mean) > 0.1


def test_the_loss_is_the_formula():
    """Written out: σ, then n from the generator; w ‖(1 − σ_n²/σ²) D + (σ_n²/σ²) x − y‖², summed over the pixels."""
    law = GaussianImages((1, 2, 3))
    measurement = measure(law.draw(5), SIGMA_N)
    denoiser = LinearDenoiser(law.shape)
    torch.nn.init.normal_(denoiser.gain, generator=generator(6))
    found = AmbientTweedie(GaussianNoise(SIGMA_N), LogNormalLevels())(denoiser, measurement, generator(7)).detach()
    source = generator(7)
    sigma = LogNormalLevels().draw(5, source, above=SIGMA_N).double()
    n = torch.randn(5, 1, 2, 3, generator=source).double()
    y = measurement.data.double()
    for i in range(5):
        x = y[i] + (sigma[i] ** 2 - SIGMA_N**2).sqrt() * n[i]
        share = SIGMA_N**2 / sigma[i] ** 2
        estimate = denoiser(x[None].float(), sigma[i : i + 1]).detach().double()[0]
        expected = 0.7 / sigma[i] * ((1 - share) * estimate + share * x - y[i]).square().sum()
        assert float(found[i]) == pytest.approx(float(expected), rel=1e-4)


class Spy(LinearDenoiser):
    """Notes the levels and inputs it is asked about."""

    def forward(self, x, sigma, context=None):
        self.noisy, self.sigma = x, sigma
        return super().forward(x, sigma, context)


@pytest.mark.parametrize(("sigma_n", "wasted"), [(0.2, 0.367), (0.4, 0.593)])
def test_clamping_would_waste_draws_and_truncation_wastes_none(sigma_n, wasted):
    count = 20_000
    measurement = measure(torch.zeros(count, 1, 1, 1), sigma_n)
    spy = Spy((1, 1, 1))
    objective = AmbientTweedie(GaussianNoise(sigma_n), LogNormalLevels())
    loss = objective(spy, measurement, generator(1))
    # The reference's clamp: σ = max(exp(−1.2 + 1.2 N), σ_n); where it bites, D has no influence.
    clamped = LogNormalLevels().draw(count, generator(2)).clamp_min(sigma_n)
    share = float((1 - sigma_n**2 / clamped**2 < 1e-6).float().mean())
    assert stats.norm.cdf((math.log(sigma_n) + 1.2) / 1.2) == pytest.approx(wasted, abs=1e-3)
    assert share == pytest.approx(wasted, abs=0.01)
    assert (spy.sigma > sigma_n).all()
    assert torch.isfinite(loss).all()
    (gradient,) = torch.autograd.grad(
        objective(Level(), measurement, generator(1)).sum(), Level.estimate
    )  # fmt: skip
    assert (gradient != 0).all()


class Level:
    """A denoiser with one estimate per item, to see how strongly each draw is heard."""

    estimate: torch.Tensor

    def weight(self, sigma):
        return torch.ones_like(sigma)

    def __call__(self, x, sigma, context=None):
        Level.estimate = torch.zeros_like(x).requires_grad_()
        return Level.estimate


def test_the_input_has_the_noise_of_its_level():
    """x_t − x has standard deviation σ per real component, the noise of the data included."""
    sigma, images = 1.0, torch.zeros(2000, 2, 4, 4)
    spy = Spy((2, 4, 4))
    objective = AmbientTweedie(GaussianNoise(SIGMA_N), one_level(sigma))
    objective(spy, measure(images, SIGMA_N, complex_images=True), generator(1))
    assert float(spy.noisy[:, 0].std()) == pytest.approx(sigma, rel=0.02)
    assert float(spy.noisy[:, 1].std()) == pytest.approx(sigma, rel=0.02)


def test_the_students_image_is_observed_without_noise():
    objective = AmbientTweedie(GaussianNoise(SIGMA_N), LogNormalLevels())
    image = torch.randn(2, 1, 3, 3, generator=generator())
    assert torch.equal(objective.observe(image, Identity()), image)
    view = objective.view(Identity(), generator())
    assert view.context is None
    assert torch.equal(view.project(image), image)


def test_data_without_noise_are_refused():
    with pytest.raises(ProtocolError, match=r"corruption\.sigma is 0"):
        AmbientTweedieSettings().build(NoCorruption())
    assert isinstance(AmbientTweedieSettings().build(GaussianNoise(0.1)), AmbientTweedie)
