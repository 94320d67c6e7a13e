"""The base of every settings class."""

import math

import pytest
from pydantic import Field, ValidationError

from rsd_med.base.settings import Settings


class Example(Settings):
    alpha: float = Field(1.2, gt=0)


def test_settings_are_strict_frozen_and_finite():
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Example(alhpa=1)
    with pytest.raises(ValidationError, match="frozen"):
        Example().alpha = 2
    for value in (math.nan, math.inf):
        with pytest.raises(ValidationError, match="finite_number"):
            Example(alpha=value)


def test_defaults_are_checked_too():
    class Wrong(Settings):
        alpha: float = Field(-1, gt=0)

    with pytest.raises(ValidationError, match="greater_than"):
        Wrong()
