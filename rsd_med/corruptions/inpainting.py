"""Missing pixels, alone or with noise."""

from typing import Literal

from jaxtyping import Inexact
from pydantic import Field
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import CorruptionSettings, ImageCorruption
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.noise import complex_or_real_noise
from rsd_med.operators.pixel_masks import block_masks, further_pixel_masks, random_pixel_masks
from rsd_med.operators.sampling import SamplingMask

Shape = Literal["pixels", "block"]


class InpaintingSettings(CorruptionSettings):
    """Pixels that were not seen; which ones is known, and the same in all channels."""

    kind: Literal["inpainting"] = "inpainting"
    missing: float = Field(
        gt=0, lt=1, description="probability that a pixel is missing (pixels), or the missing part of the area (block)"
    )
    shape: Shape = Field(
        "pixels", description="pixels that are missing independently, or one rectangle anywhere in the image"
    )
    delta: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="further corruption removes each seen pixel with this probability (pixels). Of a block it removes "
        "another one of the same size, since the first would be known for what it is among single pixels",
    )
    sigma: float = Field(
        0.0, ge=0, description="standard deviation per real component of noise in the pixels seen, in scaled units"
    )

    def build(self) -> "Inpainting":
        """Return the corruption."""
        return Inpainting(self)


class Inpainting(ImageCorruption):
    """y = M (x + sigma e) with a random mask M of pixels.

    References
    ----------
    Daras et al., Ambient diffusion: learning clean distributions from corrupted data, NeurIPS 2023.
    """

    noise_everywhere = False

    def __init__(self, settings: InpaintingSettings) -> None:
        super().__init__(settings.sigma)
        self.settings = settings

    def draw_items(self, items: int, size: tuple[int, int], draws: Draws) -> SamplingMask:
        """Draw a mask for every item."""
        draw = random_pixel_masks if self.settings.shape == "pixels" else block_masks
        return SamplingMask(draw(items, size, self.settings.missing, draws))

    def further(self, operator: LinearOperator, draws: Draws) -> SamplingMask:
        """Remove every seen pixel with probability delta, or a second block."""
        mask = _mask(operator)
        if self.settings.shape == "pixels":
            return SamplingMask(further_pixel_masks(mask, self.settings.delta, draws))
        y_size, x_size = mask.shape[-2:]
        return SamplingMask(
            mask & block_masks(len(mask), (y_size, x_size), self.settings.missing, draws).to(mask.device)
        )

    def add_noise(
        self, data: Inexact[Tensor, "b ..."], operator: LinearOperator, draws: Draws
    ) -> Inexact[Tensor, "b ..."]:
        """Add noise to the pixels seen; the others stay exactly zero."""
        if not self.sigma:
            return data
        return data + complex_or_real_noise(data, self.sigma, draws).masked_fill_(~_mask(operator), 0)


def _mask(operator: LinearOperator) -> Tensor:
    if not isinstance(operator, SamplingMask):
        raise ProtocolError(
            "corruption.kind: inpainting needs images, and these data are something else: choose another corruption."
        )
    return operator.mask
