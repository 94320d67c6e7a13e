"""Noise levels: EDM's numbers, and draws from the truncated law."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from rsd_med.diffusion.schedules import LogNormalLevels, karras_fraction, karras_levels, karras_quantile

from .gaussian import generator


@pytest.mark.parametrize("steps", [1, 2, 18, 40])
def test_the_grid_goes_from_the_largest_level_to_zero(steps):
    levels = karras_levels(steps)
    assert levels.shape == (steps + 1,)
    assert levels.dtype == torch.float32
    assert levels[0] == 80
    assert levels[-1] == 0
    if steps > 1:
        assert float(levels[-2]) == pytest.approx(0.002, rel=1e-6)
    assert (levels[1:] < levels[:-1]).all()


def test_the_grid_is_the_papers():
    places = np.arange(18) / 17
    expected = (80 ** (1 / 7) + places * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert karras_levels(18)[:-1].numpy() == pytest.approx(expected, rel=1e-6)
    custom = (10 ** (1 / 3) + places * (0.01 ** (1 / 3) - 10 ** (1 / 3))) ** 3
    assert karras_levels(18, 0.01, 10, 3)[:-1].numpy() == pytest.approx(custom, rel=1e-6)


@pytest.mark.parametrize(
    ("u", "level"), [(0.0, 0.002), (0.2, 0.085), (0.4, 0.965), (0.6, 5.84), (0.8, 24.41), (1.0, 80)]
)
def test_the_ramp_has_the_values_of_the_reference(u, level):
    found = float(karras_quantile(torch.tensor(u, dtype=torch.float64)))
    assert found == pytest.approx(level, rel=5e-3)
    assert karras_fraction(found) == pytest.approx(u, abs=1e-12)


def test_levels_are_log_normal():
    draws = LogNormalLevels(mean=-0.5, std=0.7).draw(20_000, generator())
    assert draws.dtype == torch.float32
    assert stats.kstest(draws.double().log().numpy(), stats.norm(-0.5, 0.7).cdf).pvalue > 0.01


@pytest.mark.parametrize("above", [0.05, 0.2, 0.4, 3.0])
def test_levels_above_the_noise_follow_the_truncated_law(above):
    draws = LogNormalLevels().draw(50_000, generator(1), above=above)
    assert (draws > above).all()
    law = stats.truncnorm((math.log(above) + 1.2) / 1.2, np.inf, loc=-1.2, scale=1.2)
    found = draws.double().log().numpy()
    assert stats.kstest(found, law.cdf).pvalue > 0.01
    places = np.array([0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
    assert np.quantile(found, places) == pytest.approx(law.ppf(places), abs=0.03)


def test_every_item_can_have_its_own_bound():
    bounds = torch.tensor([0.0, 0.2, 3.0])
    draws = LogNormalLevels().draw(300, generator(5), above=bounds.repeat(100)).reshape(100, 3)
    assert (draws > bounds).all()
    for column, bound in enumerate(bounds.tolist()):
        alone = LogNormalLevels().draw(300, generator(5), above=bound).reshape(100, 3)
        assert torch.equal(draws[:, column], alone[:, column])
    assert (draws[:, 0] < 0.2).any()


def test_levels_below_the_noise_follow_the_truncated_law():
    draws = LogNormalLevels().draw(50_000, generator(1), below=0.4)
    assert (draws < 0.4).all()
    law = stats.truncnorm(-np.inf, (math.log(0.4) + 1.2) / 1.2, loc=-1.2, scale=1.2)
    assert stats.kstest(draws.double().log().numpy(), law.cdf).pvalue > 0.01


@pytest.mark.parametrize("above", [float(torch.tensor(0.2)), 1e-3, 20.0, 80.0, 200.0])
def test_no_level_touches_the_noise_in_the_precision_of_training(above):
    """Noise of variance σ² − σ_n² is added: rounding must not make it negative, nor a far tail infinite."""
    draws = LogNormalLevels().draw(20_000, generator(2), above=above)
    assert torch.isfinite(draws).all()
    assert (draws**2 - torch.tensor(above) ** 2 > 0).all()


@pytest.mark.parametrize("above", [0.0, 0.2])
def test_levels_depend_on_the_generator_alone(above):
    before = torch.random.get_rng_state()
    first, again = (LogNormalLevels().draw(100, generator(3), above) for _ in range(2))
    torch.manual_seed(99)
    assert torch.equal(first, again)
    assert torch.equal(first, LogNormalLevels().draw(100, generator(3), above))
    assert not torch.equal(first, LogNormalLevels().draw(100, generator(4), above))
    torch.random.set_rng_state(before)
    LogNormalLevels().draw(100, generator(3), above)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("std", [0.0, -1.0])
def test_a_spread_must_be_positive(std):
    with pytest.raises(ValidationError, match="std"):
        LogNormalLevels(std=std)
