"""The brightness of air that is known: discs on black ground."""

import math

import pytest
import torch

from rsd_med.metrics.air import find_air
from tests.metrics.damage import generator

Y, X = torch.meshgrid(*[torch.linspace(-1, 1, 32)] * 2, indexing="ij")


def discs(count: int, air: float, seed: int = 0, peak: float = 1.0, shift: float = 0.2) -> torch.Tensor:
    """Complex discs in channels, with complex noise of magnitude ``air`` on average around them."""
    draws = generator(seed)
    centre = shift * (2 * torch.rand(count, 2, 1, 1, generator=draws) - 1)
    inside = ((Y - centre[:, 0]) ** 2 + (X - centre[:, 1]) ** 2).sqrt() < 0.6
    noise = air / math.sqrt(math.pi / 2) * torch.randn(count, 2, 32, 32, generator=draws)  # Rayleigh's mean
    tissue = 0.8 + 0.2 * torch.rand(count, 32, 32, generator=draws)
    tissue[:, 0, 0] = tissue.amax()
    angle = 6.28 * torch.rand(count, 1, 1, generator=draws)
    signal = torch.stack([tissue * angle.cos(), tissue * angle.sin()], 1)
    return peak * torch.where(inside[:, None], signal, noise)


@pytest.mark.parametrize("air", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("peak", [1.0, 3.0])
def test_air_is_as_bright_as_it_was_made(air, peak):
    reference = discs(60, 0.001, peak=peak)
    found = find_air(reference)
    assert found is not None
    assert found.peak == pytest.approx(peak, rel=0.02)
    assert found.level(reference) == pytest.approx(0.001, rel=0.05)
    # Brighter than what may be air in a reference: samples need no mask of their own, and the figure stays right.
    assert found.level(discs(50, air, seed=1, peak=peak)) == pytest.approx(air, rel=0.05, abs=1e-9)


def test_no_body_lies_in_the_air():
    found = find_air(discs(200, 0.0))
    assert 0.3 < float(found.region.float().mean()) < 0.7
    assert not found.region[(Y**2 + X**2).sqrt() < 0.6].any()
    assert found.region[0, 0]


def test_a_few_bodies_that_reach_into_the_air_are_no_bright_air():
    reference = discs(60, 0.01)
    samples = torch.cat([discs(45, 0.01, seed=1), torch.ones(5, 2, 32, 32)])
    assert find_air(reference).level(samples) == pytest.approx(0.01, rel=0.1)


def test_natural_images_are_black_at_minus_one():
    disc = ((Y**2 + X**2).sqrt() < 0.6).float().expand(10, 1, 32, 32)
    found = find_air(2 * disc - 1)
    assert found.peak == 1
    assert found.level(2 * disc - 1) == 0
    # On either side of black: what is cut off for the eye is a fault of the model all the same.
    assert found.level(2 * disc - 1.1) == found.level(2 * disc - 0.9) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "images",
    [2 * torch.rand(40, 3, 16, 16, generator=generator(1)) - 1, torch.zeros(4, 2, 16, 16), torch.ones(4, 2, 16, 16)],
    ids=["photographs", "nothing", "tissue everywhere"],
)
def test_where_there_is_no_air_nothing_is_said_of_it(images):
    assert find_air(images) is None
