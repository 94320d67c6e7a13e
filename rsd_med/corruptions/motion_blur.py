"""Blur by motion in an unknown direction, known after the fact."""

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rsd_med.base.draws import Draws
from rsd_med.corruptions.base import ImageCorruption
from rsd_med.corruptions.blur import require_odd, require_room
from rsd_med.corruptions.noise_level import Estimate, NoiseLevelSettings
from rsd_med.operators.blur import Blur, motion_kernel


class MotionBlurSettings(NoiseLevelSettings):
    """Straight uniform motion during the exposure; length and direction are drawn for every image."""

    kind: Literal["motion_blur"] = "motion_blur"
    side: int = Field(9, ge=3, le=63, description="side of the kernel in pixels, odd")
    shortest: float = Field(3.0, ge=0, description="least length of the motion in pixels; lengths are uniform")
    longest: float = Field(8.0, ge=0, description="greatest length, at most the side")
    sigma: Annotated[float, Field(ge=0)] | Estimate = Field(
        0.0,
        description="standard deviation per real component of noise that is added after the blur, in scaled units, as "
        'training assumes; or "estimate"',
    )

    @field_validator("side")
    @classmethod
    def _odd(cls, side: int) -> int:
        return require_odd(side)

    @model_validator(mode="after")
    def _ordered(self) -> "MotionBlurSettings":
        if not self.shortest <= self.longest <= self.side:
            raise ValueError(
                f"shortest <= longest <= side is needed, not {self.shortest:g}, {self.longest:g} and {self.side}"
            )
        return self

    def build(self) -> "MotionBlur":
        """Return the corruption."""
        return MotionBlur(self)


class MotionBlur(ImageCorruption):
    """y = k * x + sigma e, where k is a line of random length and direction."""

    def __init__(self, settings: MotionBlurSettings) -> None:
        super().__init__(settings.assumed_sigma, settings.simulated_sigma)
        self.settings = settings

    def draw_items(self, items: int, size: tuple[int, int], draws: Draws) -> Blur:
        """Draw a motion for every item."""
        settings = self.settings
        require_room(settings.side, size)
        fraction, angle = draws.uniform(items, 2).unbind(1)
        length = settings.shortest + (settings.longest - settings.shortest) * fraction
        return Blur(motion_kernel(settings.side, length, math.pi * angle))
