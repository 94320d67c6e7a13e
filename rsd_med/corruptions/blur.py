"""Gaussian blur, alone or with noise."""

from functools import lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import ImageCorruption
from rsd_med.corruptions.noise_level import Estimate, NoiseLevelSettings
from rsd_med.operators.blur import Blur, gaussian_kernel


class BlurSettings(NoiseLevelSettings):
    """Gaussian blur with reflection at the borders; the published kernel is 9×9 with standard deviation 2."""

    kind: Literal["blur"] = "blur"
    side: int = Field(9, ge=3, le=63, description="side of the kernel in pixels, odd")
    std: float = Field(2.0, gt=0, description="standard deviation of the kernel in pixels")
    sigma: Annotated[float, Field(ge=0)] | Estimate = Field(
        0.0,
        description="standard deviation per real component of noise that is added after the blur, in scaled units, as "
        'training assumes; or "estimate"',
    )

    @field_validator("side")
    @classmethod
    def _odd(cls, side: int) -> int:
        return require_odd(side)

    def build(self) -> "GaussianBlur":
        """Return the corruption."""
        return GaussianBlur(self)


class GaussianBlur(ImageCorruption):
    """y = k * x + sigma e with one known Gaussian kernel k."""

    def __init__(self, settings: BlurSettings) -> None:
        super().__init__(settings.assumed_sigma, settings.simulated_sigma)
        self.side, self.std = settings.side, settings.std

    def draw_items(self, items: int, size: tuple[int, int], draws: Draws) -> Blur:
        """Return the blur: the same for every item."""
        require_room(self.side, size)
        return Blur(_kernel(self.side, self.std, draws.device).expand(items, -1, -1, -1))


@lru_cache(maxsize=8)
def _kernel(side: int, std: float, device: torch.device) -> Tensor:
    """Return the kernel where it is needed: a GPU is sent it once."""
    with torch.inference_mode(False):
        return gaussian_kernel(side, std).to(device)


def require_odd(side: int) -> int:
    """Return the side of a kernel, or refuse an even one."""
    if side % 2 == 0:
        raise ValueError(f"must be odd, not {side}: an even kernel has no centre")
    return side


def require_room(side: int, size: tuple[int, int]) -> None:
    """Refuse a kernel that reaches further than the image is long."""
    if side // 2 >= min(size):
        raise ProtocolError(
            f"corruption.side: a kernel of side {side} does not fit images of {size[0]}×{size[1]}; take a smaller one."
        )
