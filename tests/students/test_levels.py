"""The levels at which teacher and fake score are compared."""

import pytest
from pydantic import ValidationError
from scipy import stats

from rsd_med.diffusion.schedules import karras_fraction
from rsd_med.students.sds import SDSSettings
from tests.diffusion.gaussian import generator


def test_levels_are_uniform_on_the_ramp():
    levels = SDSSettings(t_min=0, t_max=0.8, from_data_sigma=False).draw_levels(20_000, 0.2, generator())
    assert float(levels.min()) == pytest.approx(0.002, rel=0.05)
    assert float(levels.max()) == pytest.approx(24.41, rel=0.01)
    assert levels.min() >= 0.002 * (1 - 1e-5)
    assert levels.max() <= 24.42
    fractions = [karras_fraction(float(level)) for level in levels[:2000]]
    assert stats.kstest(fractions, stats.uniform(0, 0.8).cdf).pvalue > 0.01


def test_levels_can_start_at_the_noise_of_the_data():
    settings = SDSSettings(t_min=0, t_max=0.8)
    levels = settings.draw_levels(20_000, 0.2, generator())
    assert levels.min() >= 0.2 * (1 - 1e-5)
    assert float(levels.min()) == pytest.approx(0.2, rel=0.02)
    assert float(levels.max()) == pytest.approx(24.41, rel=0.01)
    noise_free = settings.draw_levels(20_000, 0.0, generator())
    assert float(noise_free.min()) == pytest.approx(0.002, rel=0.05)


def test_the_range_can_be_set():
    levels = SDSSettings(t_min=0.2, t_max=0.4).draw_levels(5000, 0.0, generator())
    assert float(levels.min()) == pytest.approx(0.085, rel=0.02)
    assert float(levels.max()) == pytest.approx(0.965, rel=0.01)


def test_the_default_is_where_a_short_training_looks():
    levels = SDSSettings().draw_levels(20_000, 0.0, generator())
    assert float(levels.min()) == pytest.approx(0.085, rel=0.02)
    assert float(levels.max()) == pytest.approx(5.84, rel=0.01)


@pytest.mark.parametrize(("t_min", "t_max"), [(0.9, 0.8), (0.5, 0.5)])
def test_an_empty_range_is_refused(t_min, t_max):
    with pytest.raises(ValidationError, match="t_min"):
        SDSSettings(t_min=t_min, t_max=t_max)
