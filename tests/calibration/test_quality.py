"""Maps that explain the data pass, others are refused; noise is no fault of the maps."""

import json

import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.calibration.quality import map_quality, require_explained
from rsd_med.operators.masks import acs_slice

from .scans import head, noisy

SHAPE = (64, 60)


@pytest.fixture(scope="module")
def scan():
    return head(6, SHAPE)


def centre(lines):
    sampled = torch.zeros(SHAPE[1], dtype=torch.bool)
    sampled[acs_slice(SHAPE[1], lines)] = True
    return sampled


@pytest.mark.parametrize("lines", [4, 8, 20, 60])
def test_true_maps_explain(scan, lines):
    maps, kspace = scan
    quality = map_quality(maps, torch.where(centre(lines), kspace, 0), centre(lines))
    assert quality.explains
    assert quality.residual < 0.15
    assert quality.normalisation < 1e-5
    assert quality.support == 1
    assert quality.noise_ratio is None
    assert (quality.outside is None) == (lines < 12)  # the image of fewer lines does not show where signal ends
    require_explained(quality)
    assert json.loads(json.dumps(quality.as_dict()))["explains"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        lambda maps: maps.roll(1, 0),
        lambda maps: maps.flip(-1),
        lambda maps: maps.flip(-2),
        lambda maps: maps.conj(),
        lambda maps: torch.fft.fftshift(maps, dim=(-2, -1)),
        lambda maps: maps.abs() + 0j,
    ],
    ids=["coils in another order", "left is right", "upside down", "conjugated", "uncentred", "without phase"],
)
@pytest.mark.parametrize("lines", [8, 24])
def test_wrong_maps_are_refused(scan, wrong, lines):
    quality = map_quality(wrong(scan[0]), torch.where(centre(lines), scan[1], 0), centre(lines), sigma=0.001)
    assert not quality.explains
    with pytest.raises(DataError, match=r"do not explain the data: \d\d % of|do not explain the data: \d\d% of"):
        require_explained(quality)


def test_noise_is_not_laid_at_the_maps_door(scan):
    """However noisy, the residual of true maps is that of the noise; wrong maps leave signal besides."""
    maps = scan[0]
    sigma = 0.4
    kspace, _ = noisy(scan[1], sigma)
    quality = map_quality(maps, kspace, torch.ones(SHAPE[1], dtype=torch.bool), sigma)
    assert quality.residual > 0.3
    assert quality.noise_ratio == pytest.approx(1, abs=0.05)
    assert quality.explains
    assert not map_quality(maps, kspace, torch.ones(SHAPE[1], dtype=torch.bool)).explains
    assert not map_quality(maps.flip(-1), kspace, torch.ones(SHAPE[1], dtype=torch.bool), sigma).explains


def test_noise_outside_the_support_counts(scan):
    """There, zero maps explain none of it: (1 − support / C) of the noise is left over."""
    noise, _ = noisy(torch.zeros_like(scan[1]), 1.0)
    maps = scan[0].clone()
    maps[..., :30] = 0
    quality = map_quality(maps, noise, torch.ones(SHAPE[1], dtype=torch.bool), 1.0)
    assert quality.support == 0.5
    assert quality.noise_ratio == pytest.approx(1, abs=0.03)
    assert quality.residual == pytest.approx((1 - 0.5 / 6) ** 0.5, abs=0.01)


def test_maps_that_are_not_normalised_are_refused(scan):
    quality = map_quality(1.1 * scan[0], scan[1], torch.ones(SHAPE[1], dtype=torch.bool))
    assert quality.normalisation == pytest.approx(0.21, abs=1e-3)
    with pytest.raises(DataError, match="not normalised"):
        require_explained(quality)


def test_maps_of_zeros_are_refused(scan):
    quality = map_quality(torch.zeros_like(scan[0]), scan[1], torch.ones(SHAPE[1], dtype=torch.bool))
    assert not quality.explains


@pytest.mark.parametrize("lines", [10, 11])
def test_only_the_sampled_centre_is_looked_at_and_masks_may_have_any_shape(scan, lines):
    maps, kspace = scan
    sampled = centre(lines)
    masked, other = torch.where(sampled, kspace, 0), torch.where(sampled, kspace, 1e3)
    assert map_quality(maps, masked, sampled) == map_quality(maps, other, sampled)
    assert map_quality(maps, masked, sampled[None, None]) == map_quality(maps, masked, sampled)
    plane = sampled.expand(SHAPE) & torch.ones(SHAPE, dtype=torch.bool)
    assert map_quality(maps, masked, plane[None]).residual == pytest.approx(
        map_quality(maps, masked, sampled).residual, rel=0.5
    )


def test_without_a_centre_nothing_can_be_said(scan):
    with pytest.raises(DataError, match="was not sampled"):
        map_quality(*scan, torch.zeros(SHAPE[1], dtype=torch.bool))
    with pytest.raises(DataError, match="is zero"):
        map_quality(scan[0], torch.zeros_like(scan[1]), torch.ones(SHAPE[1], dtype=torch.bool))
