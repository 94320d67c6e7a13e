"""The magnitude of complex noise: what is left of an MR image when its phase is thrown away."""

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
    simulate: bool = Field(
        True,
        description="true: the files are clean, and become magnitudes with noise, once and the same for the whole "
        "run; false: they are such magnitudes already, of which 0 is no signal",
    )

    def build(self) -> "RicianMagnitude":
        """Return the corruption."""
        return RicianMagnitude(self)


class RicianMagnitude(ImageCorruption):
    """y = |x + s (e_1 + i e_2)|; of a complex x the result is complex with imaginary part zero.

    The noise has neither mean zero nor one variance, so that sigma is given as 0: a teacher learns it as part of the
    law of y. Differentiable in x.

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
        """Return the magnitude of the image with noise, or the image where it is one already."""
        simulated = self.settings.simulated_sigma
        noise = self.noise if simulated is None else simulated
        return _magnitude(image, noise, draws) if self.settings.simulate else image

    def add_noise(
        self, data: Inexact[Tensor, "b ..."], operator: LinearOperator, draws: Draws
    ) -> Inexact[Tensor, "b ..."]:
        """Return noisy magnitudes ``(b, channels, y, x)`` of the dtype of the images."""
        return _magnitude(data, self.noise, draws)


def _magnitude(data: Tensor, noise: float, draws: Draws) -> Tensor:
    noisy = torch.complex(data, torch.zeros_like(data)) if not data.is_complex() else data
    magnitude = (noisy + complex_or_real_noise(noisy, noise, draws)).abs()
    return torch.complex(magnitude, torch.zeros_like(magnitude)) if data.is_complex() else magnitude
