"""Learning rates as functions of the images seen."""

import pytest
from pydantic import ValidationError

from rsd_med.training.adam import AdamSettings
from rsd_med.training.settings import EMASettings, EngineSettings


def test_a_constant_rate():
    assert {AdamSettings(learning_rate=3e-4).rate(images, 1000) for images in (0, 500, 1000, 2000)} == {3e-4}


def test_the_ramp_is_linear_in_images():
    settings = AdamSettings(learning_rate=1e-3, warmup_images=200)
    assert [settings.rate(images, 1000) for images in (0, 50, 100, 200, 900)] == pytest.approx(
        [0, 2.5e-4, 5e-4, 1e-3, 1e-3]
    )


def test_the_cosine_ends_at_zero_and_stays_there():
    settings = AdamSettings(learning_rate=1e-3, decay="cosine")
    found = [settings.rate(images, 1000) for images in (0, 500, 1000, 1016)]
    assert found == pytest.approx([1e-3, 5e-4, 0, 0], abs=1e-12)


def test_ramp_and_cosine_together():
    settings = AdamSettings(learning_rate=1e-3, decay="cosine", warmup_images=500)
    assert settings.rate(250, 1000) == pytest.approx(0.5 * 1e-3 * 0.5 * (1 + 0.5**0.5))
    assert settings.rate(500, 1000) == pytest.approx(5e-4)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (AdamSettings, {"learning_rate": 0}),
        (AdamSettings, {"max_gradient_norm": 0}),
        (AdamSettings, {"warmup_images": -1}),
        (EMASettings, {"half_life": 0}),
        (EngineSettings, {"checkpoint_every": 0}),
    ],
)
def test_impossible_settings_are_refused(settings, wrong):
    with pytest.raises(ValidationError):
        settings(**wrong)
