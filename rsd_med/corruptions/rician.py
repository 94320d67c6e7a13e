"""The magnitude of complex noise: what is left of an MR image when its phase is thrown away."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from rsd_med.base.settings import Settings
from rsd_med.corruptions.base import ImageCorruption
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.noise import complex_or_real_noise


class RicianSettings(Settings):
    """Magnitudes of images with complex Gaussian noise.

    Attributes
    ----------
    noise
        Standard deviation per real component of the complex noise, in scaled units.
    """

    kind: Literal["rician"] = "rician"
    noise: float = Field(gt=0)

    def build(self) -> "RicianMagnitude":
        """Return the corruption."""
        return RicianMagnitude(self.noise)


class RicianMagnitude(ImageCorruption):
    """y = |x + s (e_1 + i e_2)|; of a complex x the result is complex with imaginary part zero.

    The noise has neither mean zero nor one variance, so that sigma is given as 0: a teacher learns it as part of the
    law of y. Differentiable in x.

    Parameters
    ----------
    noise
        s, as in `RicianSettings`.

    References
    ----------
    Gudbjartsson and Patz, The Rician distribution of noisy MRI data, Magn. Reson. Med. 34, 1995.
    """

    sigma = 0.0

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def add_noise(self, data: Tensor, operator: LinearOperator, generator: torch.Generator) -> Tensor:
        """Return noisy magnitudes ``(b, C, y, x)`` of the dtype of the images."""
        noisy = torch.complex(data, torch.zeros_like(data)) if not data.is_complex() else data
        magnitude = (noisy + complex_or_real_noise(noisy, self.noise, generator)).abs()
        return torch.complex(magnitude, torch.zeros_like(magnitude)) if data.is_complex() else magnitude
