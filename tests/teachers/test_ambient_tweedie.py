"""Ambient Tweedie: its minimum is the clean posterior mean, and no draw is wasted."""

import math

import pytest
import torch
from scipy import stats

from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions import Measurement, NoCorruption, NoiseSettings
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.operators import Identity
from rsd_med.teachers.ambient_tweedie import AmbientTweedie, AmbientTweedieSettings, ConsistencySettings
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
    objective = AmbientTweedie(NoiseSettings(sigma=SIGMA_N).build(), one_level(sigma))
    noisy = noisy_at(law, sigma)
    found = fitted(objective, law, complex_images)(noisy, torch.full((len(noisy),), sigma)).detach()
    expected = law.posterior_mean(noisy, sigma)
    assert relative_error(found, expected, law.mean.reshape(shape)) < 0.025


def test_ordinary_denoising_of_the_same_data_would_learn_the_noisy_images():
    """The toy can tell: the plain objective, at the same total noise, ends at the mean of y."""
    law, sigma = GaussianImages((1, 2, 2)), 0.6
    objective = Denoising(NoiseSettings(sigma=SIGMA_N).build(), one_level(math.sqrt(sigma**2 - SIGMA_N**2)))
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
    found = AmbientTweedie(NoiseSettings(sigma=SIGMA_N).build(), LogNormalLevels())(
        denoiser, measurement, generator(7)
    ).detach()
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
    objective = AmbientTweedie(NoiseSettings(sigma=sigma_n).build(), LogNormalLevels())
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
    objective = AmbientTweedie(NoiseSettings(sigma=SIGMA_N).build(), one_level(sigma))
    objective(spy, measure(images, SIGMA_N, complex_images=True), generator(1))
    assert float(spy.noisy[:, 0].std()) == pytest.approx(sigma, rel=0.02)
    assert float(spy.noisy[:, 1].std()) == pytest.approx(sigma, rel=0.02)


def test_the_students_image_is_observed_without_noise():
    objective = AmbientTweedie(NoiseSettings(sigma=SIGMA_N).build(), LogNormalLevels())
    image = torch.randn(2, 1, 3, 3, generator=generator())
    assert torch.equal(objective.observe(image, Identity()), image)
    view = objective.show(objective.further(Identity(), generator()))
    assert view.context is None
    assert torch.equal(view.project(image), image)


def test_data_without_noise_are_refused():
    with pytest.raises(ProtocolError, match=r"corruption\.sigma is 0"):
        AmbientTweedieSettings().build(NoCorruption())
    assert isinstance(AmbientTweedieSettings().build(NoiseSettings(sigma=0.1).build()), AmbientTweedie)


def mixed(images, seed=3):
    """Every other item is clean, the others have noise σ_n."""
    sigma_n = torch.tensor([0.0, SIGMA_N]).repeat(len(images) // 2)
    noise = torch.randn(images.shape, generator=generator(seed)) * sigma_n.reshape(-1, 1, 1, 1)
    return Measurement(images + noise, Identity(), sigma_n, torch.ones(len(images)), ("toy",) * len(images))


def test_clean_and_noisy_items_share_a_batch_and_have_one_minimum():
    """σ_n is each item's own: the clean ones are denoised as ever, and both ask for the same posterior mean."""
    law, sigma = GaussianImages((1, 2, 2)), 0.6
    denoiser = LinearDenoiser(law.shape)
    fit(AmbientTweedie(NoiseSettings(sigma=SIGMA_N).build(), one_level(sigma)), denoiser, mixed(law.draw(COUNT)))
    noisy = noisy_at(law, sigma)
    found = denoiser(noisy, torch.full((len(noisy),), sigma)).detach()
    assert relative_error(found, law.posterior_mean(noisy, sigma), law.mean.reshape(law.shape)) < 0.025


def test_clean_items_draw_levels_below_the_noise_of_the_others():
    spy = Spy((1, 1, 1))
    AmbientTweedie(NoiseSettings(sigma=SIGMA_N).build(), LogNormalLevels())(
        spy, mixed(torch.zeros(4000, 1, 1, 1)), generator(1)
    )
    assert float((spy.sigma[::2] < SIGMA_N).float().mean()) == pytest.approx(0.593, abs=0.03)
    assert (spy.sigma[1::2] > SIGMA_N).all()


def test_without_noise_it_is_ordinary_denoising():
    law = GaussianImages((2, 2, 3))
    measurement, denoiser = measure(law.draw(6)), LinearDenoiser(law.shape)
    torch.nn.init.normal_(denoiser.gain, generator=generator(6))
    given = (denoiser, measurement)
    found = AmbientTweedie(NoiseSettings(sigma=SIGMA_N).build(), LogNormalLevels())(*given, generator(7))
    assert torch.equal(found, Denoising(NoCorruption(), LogNormalLevels())(*given, generator(7)))


def test_the_clamp_asks_at_the_noise_of_the_data_where_nothing_is_learned():
    """The published variant: levels below σ_n become σ_n, where the loss is 0 whatever the network answers."""
    measurement = measure(torch.zeros(5000, 1, 1, 1), SIGMA_N)
    objective = AmbientTweedieSettings(below="clamp").build(NoiseSettings(sigma=SIGMA_N).build())
    spy = Spy((1, 1, 1))
    loss = objective(spy, measurement, generator(1))
    clamped = spy.sigma == torch.tensor(SIGMA_N)
    assert float(clamped.float().mean()) == pytest.approx(0.593, abs=0.03)
    assert torch.equal(spy.noisy[clamped], measurement.data[clamped])
    assert not loss[clamped].any()
    assert torch.equal(spy.sigma[~clamped], LogNormalLevels().draw(5000, generator(1))[~clamped])


@pytest.mark.parametrize("below", ["resample", "clamp"])
def test_both_ways_have_the_same_minimum_above_the_noise(below):
    law, sigma = GaussianImages((1, 2, 2)), 0.6
    objective = AmbientTweedie(NoiseSettings(sigma=SIGMA_N).build(), one_level(sigma), below)
    noisy = noisy_at(law, sigma)
    found = fitted(objective, law, complex_images=False)(noisy, torch.full((len(noisy),), sigma)).detach()
    assert relative_error(found, law.posterior_mean(noisy, sigma), law.mean.reshape(law.shape)) < 0.025


class Scalar:
    """``E[x | x + σ n]`` of pixels N(0, v), v known at the noise of the data and above, and learned below it."""

    def __init__(self, variance, below):
        self.variance, self.below = variance, torch.tensor(below, requires_grad=True)

    def weight(self, sigma):
        return 1 / sigma**2

    def __call__(self, x, sigma, context=None):
        sigma = sigma.reshape(-1, 1, 1, 1)
        variance = torch.where(sigma < SIGMA_N * (1 - 1e-4), self.below, self.variance)
        return variance / (variance + sigma**2) * x


VARIANCE = 0.25


def scalars(count):
    images = VARIANCE**0.5 * torch.randn(count, 1, 2, 2, generator=generator(1))
    return measure(images, SIGMA_N)


def consistency(denoiser, measurement, sigma, seed=2, **settings):
    """The consistency loss per item, for one level below the noise."""
    objective = AmbientTweedie(
        NoiseSettings(sigma=SIGMA_N).build(), one_level(sigma), consistency=ConsistencySettings(**settings)
    )  # fmt: skip
    return objective.consistency_loss(denoiser, measurement.data, measurement.sigma, generator(seed))


@pytest.mark.parametrize(("walks", "steps"), [(2, 1), (3, 3)])
@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.35])
def test_consistency_is_zero_at_the_posterior_mean(sigma, walks, steps):
    """In the mean over the walks, and not for other networks: too little or too much is kept below the noise."""
    measurement = scalars(20_000)
    right, small, large = (
        consistency(Scalar(VARIANCE, below), measurement, sigma, walks=walks, steps=steps).detach()
        for below in (VARIANCE, 0.4 * VARIANCE, 4 * VARIANCE)
    )
    assert abs(float(right.mean())) < 4 * float(right.std()) / len(right) ** 0.5
    floor = float(right.std()) / len(right) ** 0.5
    assert float(small.mean()) > 2 * abs(float(right.mean())) + 2 * floor
    if sigma > 0.1:  # far below, all networks that trust their input agree
        assert float(large.mean()) > 2 * abs(float(right.mean())) + 2 * floor


def test_consistency_extends_a_network_below_the_noise():
    """A linear denoiser that knows the law above σ_n, and nothing below it, is taught there by consistency alone."""
    denoiser, measurement = Scalar(VARIANCE, 0.02), scalars(4000)
    optimiser = torch.optim.Adam([denoiser.below], lr=0.03, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 80)
    for step in range(80):
        loss = consistency(denoiser, measurement, 0.25, seed=step, walks=4, steps=2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    assert float(denoiser.below.detach()) == pytest.approx(VARIANCE, rel=0.1)


def test_consistency_teaches_the_lower_level_alone():
    """No gradient reaches D at σ_n, which the loss above the noise teaches, nor the walk that leads away from it."""
    levels = []

    class Network(Scalar):
        def __call__(self, x, sigma, context=None):
            if torch.is_grad_enabled():
                levels.append(sigma)
            return super().__call__(x, sigma, context)

    consistency(Network(VARIANCE, 0.1), scalars(8), 0.1, walks=2, steps=3)
    assert len(levels) == 2
    assert all(torch.allclose(level, torch.tensor(0.1)) for level in levels)


def test_items_without_noise_have_nothing_below_it():
    measurement = mixed(torch.randn(64, 1, 2, 2, generator=generator()))
    denoiser = Scalar(VARIANCE, 0.02)
    objective = AmbientTweedie(
        NoiseSettings(sigma=SIGMA_N).build(), LogNormalLevels(), consistency=ConsistencySettings()
    )
    loss = objective.consistency_loss(denoiser, measurement.data, measurement.sigma, generator())
    assert not loss[::2].any()
    assert loss[1::2].all()
    loss.sum().backward()
    assert torch.isfinite(denoiser.below.grad)


def test_consistency_is_added_with_its_coefficient():
    law = GaussianImages((1, 2, 2))
    measurement = measure(law.draw(8), SIGMA_N)
    given = (Scalar(VARIANCE, 0.02), measurement)
    settings = AmbientTweedieSettings(consistency=ConsistencySettings(coefficient=3.0))
    both = settings.build(NoiseSettings(sigma=SIGMA_N).build())(*given, generator(7)).detach()
    source = generator(7)
    above = AmbientTweedie(NoiseSettings(sigma=SIGMA_N).build(), LogNormalLevels())(*given, source).detach()
    objective = AmbientTweedie(
        NoiseSettings(sigma=SIGMA_N).build(), LogNormalLevels(), consistency=ConsistencySettings()
    )
    below = objective.consistency_loss(given[0], measurement.data, measurement.sigma, source).detach()
    assert torch.allclose(both, above + 3 * below)
