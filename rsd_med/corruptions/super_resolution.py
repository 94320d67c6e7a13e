"""Lower resolution, alone or with noise."""

from typing import Literal

from pydantic import Field

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import CorruptionSettings, ImageCorruption
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.super_resolution import Downsampling, NearestUpsampling


class SuperResolutionSettings(CorruptionSettings):
    """Anti-aliased downsampling, shown on the grid of the full image by repeating its pixels."""

    kind: Literal["super_resolution"] = "super_resolution"
    factor: Literal[2, 4] = Field(2, description="by how much both sides are reduced")
    sigma: float = Field(
        0.0,
        ge=0,
        description="standard deviation per real component of noise in the pixels of the full grid, in scaled units",
    )

    def build(self) -> "SuperResolution":
        """Return the corruption."""
        return SuperResolution(self)


class SuperResolution(ImageCorruption):
    """y = U D x + sigma e: D reduces, U repeats, so that teacher and generator see images of one size."""

    def __init__(self, settings: SuperResolutionSettings) -> None:
        super().__init__(settings.sigma)
        self.settings = settings

    def draw_items(self, items: int, size: tuple[int, int], draws: Draws) -> LinearOperator:
        """Return the reduction: the same for every item."""
        try:
            return NearestUpsampling(self.settings.factor) @ Downsampling(self.settings.factor, size)
        except ValueError as error:
            raise ProtocolError(f"corruption.factor: {error}") from error
