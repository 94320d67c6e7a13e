"""Drawing: image k of a seed is the same however many are asked for; proximal distances see corrupted generations."""

import pytest
import torch

from rsd_med.corruptions import NoCorruption, NoiseSettings
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.kinds import SAMPLERS
from rsd_med.diffusion.samplers.heun import HeunSettings
from rsd_med.diffusion.samplers.truncated import TruncatedSettings
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.evaluation.generation import BATCH, draw_images, student_draw, teacher_draw
from rsd_med.evaluation.monitor import ProximalMonitor, corrupt_generation
from rsd_med.metrics.frechet import frechet_distance
from rsd_med.metrics.views import magnitude_view
from rsd_med.operators import to_channels
from rsd_med.teachers.ambient_fourier import AmbientFourier
from rsd_med.teachers.denoising import Denoising
from tests.diffusion.gaussian import GaussianDenoiser
from tests.training.toys import UNDERSAMPLING, Pixels, generator, pictures, scans, tiny_denoiser

PLAIN = Denoising(NoCorruption(), LogNormalLevels())
FOURIER = AmbientFourier(UNDERSAMPLING, LogNormalLevels())


def fourier_images(count, seed=0, sampler=None):
    network = tiny_denoiser(2, 1)
    draw = student_draw(network, FewSteps(2.5)) if sampler is None else teacher_draw(network, sampler, 0.0)
    return draw_images(draw, FOURIER, scans(5), count, seed)


@pytest.mark.parametrize("sampler", [None, HeunSettings(steps=3)])
def test_an_image_does_not_depend_on_how_many_are_drawn(sampler):
    few, more, most = (fourier_images(count, sampler=sampler) for count in (3, BATCH, 2 * BATCH + 5))
    assert [len(images) for images in (few, more, most)] == [3, BATCH, 2 * BATCH + 5]
    assert torch.equal(few, most[:3])
    assert torch.equal(more, most[:BATCH])
    assert most.dtype == torch.float32
    assert most.shape[1:] == (2, 12, 12)


def test_every_image_is_another_and_every_seed_too():
    images = fourier_images(2 * BATCH + 5)
    assert len(images.flatten(1).unique(dim=0)) == len(images)
    assert not torch.equal(images[:3], fourier_images(3, seed=1))


def test_drawing_leaves_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    first = fourier_images(3)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(12)
    assert torch.equal(first, fourier_images(3))
    torch.random.set_rng_state(before)


def test_no_gradient_is_kept():
    assert not fourier_images(2).requires_grad


def test_a_teacher_draws_with_its_sampler_from_unit_noise():
    denoiser, settings = GaussianDenoiser(0.3, 0.5), TruncatedSettings(steps=8)
    given = []

    def draw(view, noise, fresh):
        given.append((view, noise))
        return teacher_draw(denoiser, settings, 0.2)(view, noise, fresh)

    images = draw_images(draw, PLAIN, pictures(4), 5, 0)
    view, noise = given[0]
    assert noise.shape == (BATCH, 1, 4, 4)
    assert float(noise.std()) == pytest.approx(1, abs=0.05)
    assert torch.equal(images, settings.sample(denoiser, view, noise, 0.2)[:5])
    assert min(denoiser.levels) > 0.2


@pytest.mark.parametrize("kind", ["stochastic", "ancestral", "guided"])
def test_what_samplers_draw_on_their_way_derives_from_the_seed(kind):
    settings = SAMPLERS[kind](steps=2)
    first, other = fourier_images(3, sampler=settings), fourier_images(3, seed=8, sampler=settings)
    assert torch.equal(first, fourier_images(3, sampler=settings))
    assert torch.equal(first, fourier_images(5, sampler=settings)[:3])
    assert not torch.equal(first, other)


def test_generations_are_corrupted_as_the_scans_were():
    like, images = scans(6), torch.randn(6, 2, 12, 12, generator=generator())
    measurement = corrupt_generation(UNDERSAMPLING, images, like, generator(1))
    assert measurement.data.shape == like.data.shape
    assert torch.equal(measurement.operator.maps, like.operator.maps)
    again = measurement.operator.normal(torch.complex(images[:, :1], images[:, 1:]))
    assert torch.allclose(to_channels(measurement.image()), to_channels(again), atol=1e-5)
    noisy = corrupt_generation(NoiseSettings(sigma=0.2).build(), torch.zeros(500, 1, 4, 4), pictures(500), generator(1))
    assert float(noisy.data.std()) == pytest.approx(0.2, rel=0.05)


def test_the_proximal_distance_is_that_of_corrupted_images():
    """Clean images of the right law, once corrupted, are as near as other measurements; uncorrupted they are not."""
    measurements = pictures(4000, sigma=0.5)
    clean = pictures(4000, sigma=1e-9, seed=7).data
    noise = NoiseSettings(sigma=0.5).build()
    monitor = ProximalMonitor(measurements, noise, Pixels(), seed=0)
    found = monitor.distance(clean)
    features = [Pixels()(magnitude_view(images)) for images in (clean, measurements.data)]
    assert found < 0.2 * frechet_distance(*features)
    assert found == monitor.distance(clean)
    assert monitor.distance(clean + 0.3) > 10 * found


def test_the_proximal_distance_takes_scans():
    monitor = ProximalMonitor(scans(40), UNDERSAMPLING, Pixels(), seed=0)
    images = torch.randn(2 * BATCH + 1, 2, 12, 12, generator=generator()) / 2**0.5
    near, far = monitor.distance(images), monitor.distance(3 * images)
    assert 0 <= near < far
