"""Lower resolution, alone or with noise."""

from typing import Literal

from pydantic import Field

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import CorruptionSettings
from rsd_med.corruptions.imaging import OperatorCorruption
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
        return SuperResolution(self.factor, self.sigma)


class SuperResolution(OperatorCorruption):
    """y = U D x + sigma e: D reduces, U repeats, so that teacher and draws see images of one size.

    Parameters
    ----------
    factor, sigma
        As in `SuperResolutionSettings`.
    """

    def __init__(self, factor: int = 2, sigma: float = 0.0) -> None:
        super().__init__(sigma)
        self.factor = factor

    def draw_items(self, items: int, size: tuple[int, int], draws: Draws) -> LinearOperator:
        """Return the reduction: the same for every item."""
        try:
            return NearestUpsampling(self.factor) @ Downsampling(self.factor, size)
        except ValueError as error:
            msg = f"corruption.factor: {error}"
            raise ProtocolError(msg) from error
