"""The magnitude of a signal with complex noise: what is left of an MR image when its phase is thrown away."""

from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Inexact
from pydantic import Field
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.base import ImageCorruption
from rsd_med.corruptions.noise_level import Estimate, NoiseLevelSettings
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.noise import complex_or_real_noise


class RicianSettings(NoiseLevelSettings):
    """Magnitudes of images with complex Gaussian noise."""

    level_field: ClassVar[str] = "noise"
    where_files_carry_it: ClassVar[str] = ", or set simulate: false where the files carry it"

    kind: Literal["rician"] = "rician"
    noise: Annotated[float, Field(gt=0)] | Estimate = Field(
        description="standard deviation per real component of the complex noise, in scaled units, as training "
        'assumes; or "estimate"'
    )
    black: float = Field(
        -1.0,
        lt=1,
        description="the value of real images where there is no signal: -1 for images from 0 to their largest value, "
        "as readers scale them; 0 if the numbers are magnitudes as they stand. Of complex images it is 0",
    )
    simulate: bool = Field(
        True,
        description="true: the files are clean, and become magnitudes with noise, once and the same for the whole "
        "run; false: they are such magnitudes already",
    )

    def build(self) -> "RicianMagnitude":
        """Return the corruption."""
        return RicianMagnitude(self)


class RicianMagnitude(ImageCorruption):
    """y = black + |max(x - black, 0) + s (e_1 + i e_2)|; of a complex x, |x + s (e_1 + i e_2)|, with imaginary part 0.

    Air stays black but for a floor of noise, by Rayleigh's law of mean s sqrt(pi / 2). The noise has neither mean zero
    nor one variance, so that sigma is given as 0: a teacher learns it as part of the law of y. Differentiable in x.

    References
    ----------
    Gudbjartsson and Patz, The Rician distribution of noisy MRI data, Magn. Reson. Med. 34, 1995.
    """

    def __init__(self, settings: RicianSettings) -> None:
        super().__init__()
        self.noise = settings.assumed_sigma
        self.settings = settings

    def measured(
        self, image: Inexact[Tensor, "b c y x"], operator: LinearOperator, draws: Draws
    ) -> Inexact[Tensor, "b c y x"]:
        """Return the magnitude of the image with noise; of files that carry it, their magnitude as it is."""
        if not self.settings.simulate:
            return _complex(image.abs()) if image.is_complex() else image
        simulated = self.settings.simulated_sigma
        return self._magnitude(image, self.noise if simulated is None else simulated, draws)

    def add_noise(
        self, data: Inexact[Tensor, "b ..."], operator: LinearOperator, draws: Draws
    ) -> Inexact[Tensor, "b ..."]:
        """Return noisy magnitudes ``(b, C, y, x)`` of the dtype of the images."""
        return self._magnitude(data, self.noise, draws)

    def signal(self, data: Inexact[Tensor, "b ..."]) -> Inexact[Tensor, "b ..."]:
        """Return what the scanner received, from 0 on: complex data as they are, real ones above black."""
        # A generator leaves the range of images now and then: nothing is darker than black.
        return data if data.is_complex() else (data - self.settings.black).clamp_min(0)

    def _magnitude(self, data: Tensor, noise: float, draws: Draws) -> Tensor:
        signal = self.signal(data)
        noisy = signal if signal.is_complex() else _complex(signal)
        magnitude = (noisy + complex_or_real_noise(noisy, noise, draws)).abs()
        return _complex(magnitude) if data.is_complex() else magnitude + self.settings.black


def _complex(real: Tensor) -> Tensor:
    return torch.complex(real, torch.zeros_like(real))
