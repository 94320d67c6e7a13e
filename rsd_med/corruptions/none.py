"""No corruption: clean images, for the reference runs that corrupted-only training is compared with."""

from typing import Literal

from rsd_med.corruptions.base import CorruptionSettings, ImageCorruption


class NoCorruptionSettings(CorruptionSettings):
    """Clean images, taken as they are."""

    kind: Literal["none"] = "none"

    def build(self) -> "NoCorruption":
        """Return the corruption."""
        return NoCorruption()


class NoCorruption(ImageCorruption):
    """y = x."""
