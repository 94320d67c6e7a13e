"""The radial spectrum against textures of known power, and against numpy's transform."""

import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.metrics.spectrum import radial_spectrum, worst_ratio
from tests.metrics.damage import generator


def white(count: int, *shape: int, std: float, seed: int = 0) -> torch.Tensor:
    return std * torch.randn(count, *shape, generator=generator(seed))


@pytest.mark.parametrize(("channels", "std", "power"), [(1, 0.3, 0.09), (3, 0.3, 0.09), (2, 0.2, 2 * 0.04)])
def test_white_noise_has_its_variance_at_every_frequency(channels, std, power):
    found = radial_spectrum(white(400, channels, 32, 32, std=std) + 0.7)
    assert found.frequencies[0] == 1 / 16
    assert found.frequencies[15] == 1.0
    assert found.frequencies[-1] == pytest.approx(2**0.5, abs=1 / 16)
    assert found.power[:-2] == pytest.approx([power] * (len(found.power) - 2), rel=0.1)
    assert found.power[-2:] == pytest.approx([power] * 2, rel=0.3)  # the corner is a handful of coefficients


@pytest.mark.parametrize("shape", [(24, 40), (33, 31)])
def test_a_wave_lies_in_the_ring_of_its_frequency(shape):
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    wave = np.cos(2 * np.pi * (4 * y / rows + 3 * x / columns))
    found = radial_spectrum(torch.from_numpy(wave).float()[None, None])
    frequency = 2 * np.hypot(4 / rows, 3 / columns)  # cycles per pixel; Nyquist is half a cycle
    place = int(np.argmax(found.power))
    assert abs(found.frequencies[place] - frequency) <= 1 / 20
    assert found.power[place] > 1e3 * sorted(found.power)[-2]


def test_rings_are_those_of_numpys_transform():
    images = white(5, 2, 20, 20, std=1.0, seed=3).double()
    coefficients = np.fft.fft2((images[:, 0] + 1j * images[:, 1]).numpy()) / 20
    frequencies = 2 * np.abs(np.fft.fftfreq(20))
    ring = np.rint(10 * np.hypot.outer(frequencies, frequencies))
    expected = [np.mean(np.abs(coefficients[:, ring == k]) ** 2) for k in range(1, int(ring.max()) + 1)]
    assert radial_spectrum(images).power == pytest.approx(expected, abs=2e-6)


def test_grain_blur_and_a_grid_are_where_they_belong():
    """Known multiples of power, made in k-space by hand."""
    y, x = np.meshgrid(*[2 * np.fft.fftfreq(64)] * 2, indexing="ij")
    radius = np.hypot(y, x)
    smooth = np.exp(-2 * radius)

    def textures(gain: np.ndarray, seed: int) -> torch.Tensor:
        noise = np.random.default_rng(seed).standard_normal((100, 64, 64))
        return torch.from_numpy(np.fft.ifft2(np.fft.fft2(noise) * smooth * gain).real)[:, None]

    reference = radial_spectrum(textures(np.ones_like(radius), 1))
    same = radial_spectrum(textures(np.ones_like(radius), 2)).over(reference)
    assert same[1:-2] == pytest.approx([1] * (len(same) - 3), rel=0.1)
    grainy = radial_spectrum(textures(np.where(radius > 0.69, 2.0, 1.0), 3)).over(reference)
    where, ratio = worst_ratio(reference.frequencies, grainy)
    assert 0.7 < where <= 0.9
    assert ratio == pytest.approx(4, rel=0.1)
    soft = radial_spectrum(textures(np.where(radius > 0.44, 0.5, 1.0), 4)).over(reference)
    where, ratio = worst_ratio(reference.frequencies, soft)
    assert 0.45 < where <= 0.9
    assert ratio == pytest.approx(0.25, rel=0.1)
    grid = radial_spectrum(textures(np.where(radius > 1.2, 5.0, 1.0), 5)).over(reference)
    assert grid[-1] == pytest.approx(25, rel=0.4)
    assert abs(worst_ratio(reference.frequencies, grid)[1] - 1) < 0.2


def test_what_rounding_to_grey_levels_hides_does_not_count():
    black = torch.zeros(8, 2, 16, 16)
    faint = black + white(8, 2, 16, 16, std=1e-5)
    assert radial_spectrum(faint).over(radial_spectrum(black)) == pytest.approx([1.0] * 11, rel=0.01)


def test_spectra_of_different_sizes_are_not_compared():
    with pytest.raises(DataError, match="crop or resample both alike"):
        radial_spectrum(torch.zeros(2, 1, 16, 16)).over(radial_spectrum(torch.zeros(2, 1, 32, 32)))
