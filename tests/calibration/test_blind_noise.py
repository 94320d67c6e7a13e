"""The level of the noise comes out of noisy images alone, whatever they show, and the estimate knows its own error."""

import numpy as np
import pytest
import torch

from rsd_med.base.draws import Draws
from rsd_med.base.errors import DataError
from rsd_med.calibration.blind_noise import estimate_rician_noise, estimate_white_noise


def draws(seed):
    return Draws().manual_seed(seed)


def scenes(count, channels, shape, seed=0):
    """Smooth areas, an edge and a patch of texture; the channels of a scene resemble each other."""
    generator = draws(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, shape[0]), torch.linspace(-1, 1, shape[1]), indexing="ij")
    a, b, c, angle = torch.rand(4, count, 1, 1, 1, generator=generator)
    tint = 0.6 + 0.4 * torch.rand(count, channels, 1, 1, generator=generator)
    across = x * torch.cos(6.3 * angle) + y * torch.sin(6.3 * angle)
    texture = torch.sin(9 * (1 + b) * x) * torch.sin(11 * y) * (x * y > 0.2)
    return tint * (0.8 * (a - 0.5) * across + torch.where(across > c - 0.5, 0.5, -0.5) + 0.5 * texture)


def noisy(images, sigma, seed=1):
    if images.is_complex():
        parts = torch.randn(2, *images.shape, generator=draws(seed))
        return images + sigma * torch.complex(parts[0], parts[1])
    return images + sigma * torch.randn(images.shape, generator=draws(seed))


@pytest.mark.parametrize("sigma", [0.05, 0.5])
@pytest.mark.parametrize(("channels", "shape"), [(1, (32, 32)), (3, (32, 32)), (1, (29, 41)), (3, (27, 30))])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_level_is_found_within_two_percent(channels, shape, sigma, seed):
    found = estimate_white_noise(noisy(scenes(200, channels, shape, seed), sigma, seed))
    assert found.sigma == pytest.approx(sigma, rel=0.02)
    assert abs(found.sigma - sigma) < 5 * found.error + 0.01 * sigma
    assert found.images == 200
    assert found.clipped == 0


def test_noise_alone_has_its_own_level_and_no_less():
    """The smallest of many variances would be too small by chance, were it not measured on the other half."""
    levels = [estimate_white_noise(torch.randn(100, 1, 24, 24, generator=draws(seed))) for seed in range(20)]
    mean = np.mean([found.sigma for found in levels])
    assert mean == pytest.approx(1, abs=0.005)
    spread = np.std([found.sigma for found in levels])
    assert 0.5 < np.mean([found.error for found in levels]) / spread < 2


def test_of_complex_images_it_is_the_level_of_each_real_component():
    """Not of the magnitude, which is √2 times as large."""
    images = torch.polar(scenes(150, 1, (32, 32)).abs(), 2 * scenes(150, 1, (32, 32), seed=5))
    found = estimate_white_noise(noisy(images, 0.1))
    assert found.sigma == pytest.approx(0.1, rel=0.02)
    real = estimate_white_noise(noisy(images, 0.1).real.contiguous())
    assert found.sigma == pytest.approx(real.sigma, rel=0.02)


def test_the_units_are_those_of_the_images():
    images = noisy(scenes(100, 1, (32, 32)), 0.1)
    assert estimate_white_noise(7 * images + 3).sigma == pytest.approx(7 * estimate_white_noise(images).sigma, rel=1e-3)


@pytest.mark.parametrize("background", [0.0, -1.0])
def test_a_background_masked_after_the_measurement_is_left_out(background):
    images = noisy(scenes(200, 1, (48, 48)), 0.1)
    y, x = torch.meshgrid(torch.arange(48) - 24, torch.arange(48) - 24, indexing="ij")
    masked = torch.where(x**2 + y**2 < 18**2, images, background)
    found = estimate_white_noise(masked)
    assert found.sigma == pytest.approx(0.1, rel=0.03)
    assert found.clipped == 0


def test_clipped_images_are_noticed_and_measured_away_from_the_clipping():
    images = scenes(300, 1, (32, 32)) - 0.3
    found = estimate_white_noise(noisy(images, 0.15).clamp(-1, 1))
    assert found.clipped > 0.005
    assert found.sigma == pytest.approx(0.15, rel=0.03)


def test_images_stored_in_eight_bits_are_no_masked_ones():
    images = noisy(scenes(200, 1, (32, 32)) / 3, 0.05).clamp(-1, 1)
    stored = ((images + 1) * 127.5).round() / 127.5 - 1
    assert estimate_white_noise(stored).sigma == pytest.approx(0.05, rel=0.03)


def test_what_is_no_gaussian_noise_shows_in_the_excess():
    gaussian = estimate_white_noise(noisy(scenes(200, 1, (32, 32)), 0.1))
    assert abs(gaussian.excess) < 0.05
    speckles = torch.randn(200, 1, 32, 32, generator=draws(3)) ** 5
    assert estimate_white_noise(speckles).excess > 0.1


def test_of_several_levels_the_lowest_is_found():
    """Content is told from noise by what it adds, and so is noise of other images: one level is assumed for all."""
    sigma = torch.where(torch.arange(200) % 3 == 0, 0.3, 0.1)[:, None, None, None]
    varied = scenes(200, 1, (32, 32)) + sigma * torch.randn(200, 1, 32, 32, generator=draws(3))
    assert estimate_white_noise(varied).sigma == pytest.approx(0.1, rel=0.05)


def test_the_same_images_give_the_same_bits():
    images = noisy(scenes(60, 3, (24, 24)), 0.2)
    torch.manual_seed(0)
    first = estimate_white_noise(images)
    torch.manual_seed(1)
    assert estimate_white_noise(images.clone()) == first


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (torch.zeros(0, 1, 16, 16), "0 images"),
        (torch.zeros(1, 1, 16, 16), "1 images"),
        (torch.ones(50, 1, 16, 16), "too few places"),
        (torch.linspace(0, 1, 64).expand(50, 1, 64, 64).clone() * torch.arange(1, 51)[:, None, None, None], "no noise"),
        (torch.randn(50, 1, 5, 16, generator=draws(0)), "too small"),
        (torch.randn(50, 1, 32, 32, generator=draws(0)).clamp(-0.1, 0.1), "too few places"),
    ],
    ids=["none", "one", "constant", "ramps", "small", "all clipped"],
)
def test_what_cannot_be_measured_is_said(images, sentence):
    with pytest.raises(DataError, match=sentence):
        estimate_white_noise(images)


# --- magnitudes --------------------------------------------------------------------------------------------------


def heads(count, share, seed=0):
    """Bright discs that leave about ``1 - share`` of each image without signal."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    radius = (4 * share / np.pi) ** 0.5 * (0.8 + 0.2 * torch.rand(count, 1, 1, 1, generator=draws(seed)))
    return torch.where(x**2 + y**2 < radius**2, 0.8 + 0.2 * torch.sin(5 * x), 0.0)


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_noise_behind_magnitudes_is_found(sigma, share):
    """By its definition: magnitudes of complex noise of this level in each component."""
    complex_image = torch.complex(heads(150, share), torch.zeros(150, 1, 48, 48))
    magnitude = noisy(complex_image, sigma).abs()
    found = estimate_rician_noise(magnitude)
    assert found.sigma == pytest.approx(sigma, rel=0.03)
    # The spread of a background is that of Rayleigh's law: taken for Gaussian, the level would be 0.655 of the truth.
    assert estimate_white_noise(magnitude).sigma < 0.8 * sigma


def test_rayleighs_law_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    values = stats.rice.rvs(0, scale=0.3, size=(60, 1, 36, 36), random_state=np.random.default_rng(0))
    assert estimate_rician_noise(torch.from_numpy(values).float()).sigma == pytest.approx(0.3, rel=0.01)


def test_magnitudes_without_background_are_taken_for_gaussian():
    strong = torch.complex(2 + 0.2 * heads(150, 0.5), torch.zeros(150, 1, 48, 48))
    assert estimate_rician_noise(noisy(strong, 0.1).abs()).sigma == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("sigma", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("edge", [5, 9])
def test_a_masked_background_says_nothing(sigma, edge):
    """As skull-stripped heads have it: exactly black outside, and an edge that was resampled."""
    clean = heads(150, 0.5)
    inside = torch.nn.functional.avg_pool2d((clean > 0).float(), edge, 1, edge // 2)
    magnitude = noisy(torch.complex(clean, torch.zeros_like(clean)), sigma).abs() * inside
    assert (magnitude == 0).float().mean() > 0.2
    assert estimate_rician_noise(magnitude).sigma == pytest.approx(sigma, rel=0.1)


def test_negative_values_are_no_magnitudes():
    with pytest.raises(DataError, match="no value below 0"):
        estimate_rician_noise(torch.full((4, 1, 24, 24), -1.0))
