"""Fourier-space ambient: its minimum is the clean posterior mean given what was shown, hidden lines included."""

import numpy as np
import pytest
import torch

from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings, NoiseSettings
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.operators import Identity, MultiCoilFourier, complex_or_real_noise, fft2c, to_channels, to_complex
from rsd_med.teachers.ambient_fourier import AmbientFourier, AmbientFourierSettings, mask_context
from rsd_med.teachers.base import weighted_error
from tests.operators.contracts import random_maps

from .toys import GaussianImages, LinearDenoiser, fit, generator, one_level, relative_error

WIDTH, ACS, SIGMA, COUNT = 6, 2, 0.3, 16_000
CORRUPTION = MultiCoilFourierSettings(acceleration=1.5, acs_lines=ACS, further_lines=1).build()


class FurtherMaskOnly(AmbientFourier):
    """The wrong loss: asks for what the network was shown, and never for what was hidden from it."""

    def __call__(self, denoiser, measurement, generator):
        seen = self.corruption.further(measurement.operator, generator)
        sigma = self.levels.draw(len(measurement), generator)
        shown = seen.H(measurement.data)
        noisy = to_channels(shown + seen.normal(complex_or_real_noise(shown, sigma, generator)))
        estimate = to_complex(denoiser(noisy, sigma, mask_context(seen)))
        return weighted_error(denoiser, to_channels(seen.normal(estimate) - shown), sigma)


def knee(coils, height):
    """A compact object of slowly varying phase: its k-space lines tell about one another."""
    envelope = torch.tensor([0.05, 0.2, 1.0, 1.0, 0.3, 0.05]).expand(2, height, WIDTH)
    law = GaussianImages((2, height, WIDTH), seed=11, spread=envelope.flatten())
    maps = torch.ones(1, 1, height, WIDTH, dtype=torch.complex64)
    return law, maps if coils == 1 else random_maps((1, coils, height, WIDTH), torch.complex64)


def scan(law, maps, count, seed=2):
    """Measurements with as many fresh masks."""
    source = generator(seed)
    masks = torch.stack([CORRUPTION.draw_mask(WIDTH, source) for _ in range(64)])
    masks = masks[torch.randint(64, (count,), generator=source)]
    operator = MultiCoilFourier(masks[:, None, None], maps.expand(count, -1, -1, -1))
    images = law.draw(count, seed)
    data = operator(to_complex(images))
    return images, Measurement(data, operator, torch.zeros(count), torch.ones(count), ("toy",) * count)


def as_matrix(mask, maps):
    """Ã^H Ã as a real matrix on (real, imaginary) pixels, from the Fourier matrix written out."""
    height = maps.shape[-2]
    fourier = [
        np.exp(-2j * np.pi * np.outer(np.arange(n) - n // 2, np.arange(n) - n // 2) / n) / np.sqrt(n)
        for n in (height, WIDTH)
    ]
    transform = np.kron(*fourier)
    kept = np.kron(np.eye(height), np.diag(mask.numpy().astype(float)))
    normal = sum(
        np.diag(coil.conj()) @ transform.conj().T @ kept @ transform @ np.diag(coil)
        for coil in maps[0].reshape(len(maps[0]), -1).numpy()
    )
    real = np.block([[normal.real, -normal.imag], [normal.imag, normal.real]])
    return torch.from_numpy(real).double()


def errors(objective_class, coils, height):
    """Relative errors of the fitted denoiser on lines that it was shown, and on lines that were hidden from it."""
    law, maps = knee(coils, height)
    objective = objective_class(CORRUPTION, one_level(SIGMA))
    _, measurement = scan(law, maps, COUNT)
    contexts = mask_context(CORRUPTION.further(measurement.operator, generator(4)))
    denoiser = LinearDenoiser(law.shape, contexts)
    assert len(denoiser.codes) == 4  # each of the four lines outside the ACS may be the only one left
    fit(objective, denoiser, measurement)

    images, fresh = scan(law, maps, 2000, seed=8)
    seen = CORRUPTION.further(fresh.operator, generator(9))
    noisy = seen.normal(to_complex(images) + complex_or_real_noise(to_complex(images), SIGMA, generator(10)))
    found = denoiser(to_channels(noisy), torch.full((2000,), SIGMA), mask_context(seen)).detach()
    expected = torch.zeros_like(found, dtype=torch.float64)
    for mask in seen.mask[:, 0, 0].unique(dim=0):
        chosen = (seen.mask[:, 0, 0] == mask).all(1)
        projection = as_matrix(mask, maps)
        expected[chosen] = law.posterior_mean(to_channels(noisy[chosen]), SIGMA, projection)

    mean = law.mean.reshape(law.shape)
    return tuple(
        relative_error(on_lines(found - mean, mask), on_lines(expected - mean, mask))
        for mask in (seen.mask, ~seen.mask)
    )


def on_lines(x, mask):
    """The part of images in channels that lies on the k-space lines of a mask, as real numbers."""
    return torch.view_as_real(fft2c(to_complex(x.double())) * mask)


@pytest.mark.parametrize(("coils", "height"), [(1, 1), (2, 1), (2, 2)])
def test_the_minimum_is_the_clean_posterior_mean_on_hidden_lines_too(coils, height):
    shown, hidden = errors(AmbientFourier, coils, height)
    assert shown < 0.05
    assert hidden < 0.08


@pytest.mark.parametrize("coils", [1, 2])
def test_a_loss_on_the_shown_lines_alone_does_not_find_it(coils):
    """The toy can tell: asked for Ã^H Ã x only, as in one released code, hidden lines are never supervised."""
    _, hidden = errors(FurtherMaskOnly, coils, 1)
    assert hidden > 0.4


def noisy_errors(coils, height, sigma_n, *, ignored=False):
    """Errors of a denoiser fitted to scans with noise, on shown and on hidden lines.

    The posterior mean is that given ``Ã^H (Ã (x + a n) + τ ε)``, its covariance written out as a matrix: τ² of white
    noise in k-space becomes ``τ² Ã^H Ã``, and a² in the image ``a² (Ã^H Ã)²``, with a² = σ² − τ².
    """
    law, maps = knee(coils, height)
    tau = min(SIGMA, 2 * sigma_n)
    corruption = MultiCoilFourierSettings(acceleration=1.5, acs_lines=ACS, further_lines=1, sigma=sigma_n).build()

    def noisy_scan(count, seed):
        images, clean = scan(law, maps, count, seed)
        data = corruption.add_noise(clean.data, clean.operator, generator(seed + 1))
        stated = torch.full((count,), sigma_n)
        return images, Measurement(data, clean.operator, stated, clean.scale, clean.ids)

    objective = AmbientFourier(CORRUPTION if ignored else corruption, one_level(SIGMA))
    _, measurement = noisy_scan(COUNT, seed=2)
    denoiser = LinearDenoiser(law.shape, mask_context(corruption.further(measurement.operator, generator(4))))
    fit(objective, denoiser, measurement)

    _, fresh = noisy_scan(2000, seed=8)
    seen, source = corruption.further(fresh.operator, generator(9)), generator(10)
    added = complex_or_real_noise(fresh.data, (tau**2 - sigma_n**2) ** 0.5, source)
    of_image = complex_or_real_noise(fresh.data[:, :1], (SIGMA**2 - tau**2) ** 0.5, source)
    noisy = to_channels(seen.H(fresh.data + added + seen(of_image)))
    found = denoiser(noisy, torch.full((2000,), SIGMA), mask_context(seen)).detach()
    expected = torch.zeros_like(found, dtype=torch.float64)
    for mask in seen.mask[:, 0, 0].unique(dim=0):
        chosen = (seen.mask[:, 0, 0] == mask).all(1)
        projection = as_matrix(mask, maps)
        of_kspace = tau**2 * projection
        expected[chosen] = law.posterior_mean(noisy[chosen], (SIGMA**2 - tau**2) ** 0.5, projection, of_kspace)
    mean = law.mean.reshape(law.shape)
    return tuple(
        relative_error(on_lines(found - mean, mask), on_lines(expected - mean, mask))
        for mask in (seen.mask, ~seen.mask)
    )


@pytest.mark.parametrize(("coils", "height", "sigma_n"), [(1, 1, 0.2), (2, 1, 0.1)])
def test_the_minimum_is_the_clean_posterior_mean_of_noisy_scans_too(coils, height, sigma_n):
    shown, hidden = noisy_errors(coils, height, sigma_n)
    assert shown < 0.05
    assert hidden < 0.08


def test_a_loss_that_ignores_the_noise_keeps_it():
    shown, _ = noisy_errors(2, 1, 0.2, ignored=True)
    assert shown > 0.15


class Spy(LinearDenoiser):
    """Notes what it is shown."""

    def forward(self, x, sigma, context=None):
        self.noisy, self.sigma, self.context = x, sigma, context
        return torch.zeros_like(x)


def test_the_network_sees_the_further_masked_image_and_its_mask():
    """Written out: Ã drawn first, then σ, then n; the input is Ã^H Ã (x + σ n), computed from the measurement alone."""
    law, maps = knee(2, 4)
    images, measurement = scan(law, maps, 7)
    objective = AmbientFourier(CORRUPTION, LogNormalLevels())
    spy = Spy(law.shape)
    loss = objective(spy, measurement, generator(3))
    source = generator(3)
    view = objective.show(objective.further(measurement.operator, source))
    sigma = LogNormalLevels().draw(7, source)
    noise = complex_or_real_noise(to_complex(images), sigma, source)
    assert torch.equal(spy.sigma, sigma)
    assert torch.equal(spy.context, view.context)
    assert torch.allclose(spy.noisy, view.project(images + to_channels(noise)), atol=1e-5)
    # The denoiser answered 0: the loss is that of A^H y itself, on every line of A.
    target = measurement.operator.H(measurement.data)
    assert torch.allclose(loss, 0.7 / sigma * target.abs().square().sum((1, 2, 3)), rtol=1e-5)


def test_a_view_hides_lines_of_its_operator_and_keeps_the_centre():
    law, maps = knee(2, 4)
    images, measurement = scan(law, maps, 50)
    objective = AmbientFourier(CORRUPTION, LogNormalLevels())
    view = objective.show(objective.further(measurement.operator, generator(3)))
    shown, acquired = view.context[:, 0, 0].bool(), measurement.operator.mask[:, 0, 0]
    assert view.context.shape == (50, 1, 4, WIDTH)
    assert not (shown & ~acquired).any()
    assert ((acquired & ~shown).sum(1) == 1).all()
    assert shown[:, 2:4].all()
    expected = MultiCoilFourier(shown[:, None, None], measurement.operator.maps).normal(to_complex(images))
    assert torch.equal(view.project(images), to_channels(expected))


def test_the_students_image_is_observed_whole():
    law, maps = knee(1, 1)
    images, measurement = scan(law, maps, 3)
    observed = AmbientFourier(CORRUPTION, LogNormalLevels()).observe(images, measurement.operator)
    assert torch.equal(observed, images)


def test_the_network_is_told_one_mask():
    assert AmbientFourier.context_channels == 1


def test_other_corruptions_and_operators_are_refused():
    with pytest.raises(ProtocolError, match="multicoil_fourier"):
        AmbientFourierSettings().build(NoiseSettings(sigma=0.1).build())
    objective = AmbientFourierSettings().build(CORRUPTION)
    images = torch.zeros(1, 1, 4, 6, dtype=torch.complex64)
    measurement = Measurement(images, Identity(), torch.zeros(1), torch.ones(1), ("a",))
    with pytest.raises(TypeError, match="Identity"):
        objective(Spy((2, 4, 6)), measurement, generator())
