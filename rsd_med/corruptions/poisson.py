"""Low dose: counted photons."""

from typing import Literal

import torch
from jaxtyping import Inexact
from pydantic import Field
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import CorruptionSettings, ImageCorruption
from rsd_med.operators.linear import LinearOperator


class PoissonSettings(CorruptionSettings):
    """Images made of counted quanta: the darker, the noisier in proportion."""

    kind: Literal["poisson"] = "poisson"
    peak: float = Field(gt=0, description="expected count of a pixel of value 1")
    black: float = Field(-1.0, lt=1, description="the value without any count: -1 for natural images, 0 for magnitudes")

    def build(self) -> "LowDose":
        """Return the corruption."""
        return LowDose(self)


class LowDose(ImageCorruption):
    """y = black + (1 - black) / peak * Poisson(peak * (x - black) / (1 - black)), for real images.

    Its noise depends on the image, so that sigma is given as 0: a teacher learns it as part of the law of y. The
    gradient is that of mean + standard deviation * z for the z that was drawn, which has the gradient of both moments.
    """

    def __init__(self, settings: PoissonSettings) -> None:
        super().__init__()
        self.settings = settings

    def add_noise(
        self, data: Inexact[Tensor, "b ..."], operator: LinearOperator, draws: Draws
    ) -> Inexact[Tensor, "b ..."]:
        """Return counted images ``(b, channels, y, x)``, differentiable.

        Raises
        ------
        ProtocolError
            If the images are complex.
        """
        if data.is_complex():
            raise ProtocolError(
                "corruption.kind: poisson counts quanta, and these images are complex: choose noise or rician."
            )
        per_count = (1 - self.settings.black) / self.settings.peak
        # A generator leaves the range of images now and then: nothing is darker than black.
        mean = ((data - self.settings.black) / per_count).clamp_min(0)
        with torch.no_grad():
            counts = draws.poisson(mean)
            standard = (counts - mean) / mean.clamp_min(1e-6).sqrt()
        drawn = mean + mean.clamp_min(1e-6).sqrt() * standard
        return self.settings.black + per_count * drawn
