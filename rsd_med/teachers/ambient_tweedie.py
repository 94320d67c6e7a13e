"""Ambient Tweedie: the clean posterior mean from noisy data alone (arXiv 2404.10177; methods §4.1)."""

from typing import Literal

import torch

from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.operators.channels import to_channels
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.noise import complex_or_real_noise
from rsd_med.teachers.base import Objective, ObjectiveSettings, apply, weighted_error


class AmbientTweedieSettings(ObjectiveSettings):
    """Learn the clean posterior mean above the noise of the data."""

    kind: Literal["ambient_tweedie"] = "ambient_tweedie"

    def build(self, corruption: Corruption) -> "AmbientTweedie":
        """Build the objective; ProtocolError where the corruption adds no noise."""
        if corruption.sigma <= 0:
            raise ProtocolError(
                "teacher.objective: ambient_tweedie needs noisy data, but corruption.sigma is 0; "
                "use denoising (noise-free data) or ambient_fourier (undersampled k-space)."
            )
        return AmbientTweedie(corruption, self.levels)


class AmbientTweedie(Objective):
    """``w(σ) ‖(1 − σ_n²/σ²) D(x; σ) + (σ_n²/σ²) x − y‖²`` with ``x = y + √(σ² − σ_n²) n`` and σ > σ_n.

    From the double Tweedie identity ``E[y|x] = (σ_n²/σ²) x + (1 − σ_n²/σ²) E[x_0|x]``: at the optimum D is the mean of
    the clean image. σ is drawn from the truncated law above σ_n instead of clamped to it.
    """

    transforms = "permutations"  # the noise must stay white

    def __call__(self, denoiser: Denoiser, measurement: Measurement, generator: torch.Generator) -> torch.Tensor:
        """Return the loss of each item; see the class."""
        y = to_channels(measurement.data)
        sigma_n = measurement.sigma.to(y.device)
        sigma = self.levels.draw(len(y), generator, above=sigma_n)
        noisy = y + complex_or_real_noise(y, (sigma**2 - sigma_n**2).sqrt(), generator)
        share = ((sigma_n / sigma) ** 2).reshape(-1, 1, 1, 1)
        predicted = (1 - share) * denoiser(noisy, sigma) + share * noisy
        return weighted_error(denoiser, predicted - y, sigma)

    def observe(self, image: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Return ``A(x)``: the score above σ_n describes the law of the noise-free measurement."""
        return apply(operator, image)
