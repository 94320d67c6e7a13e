"""Score identity Distillation (arXiv 2404.04057) as Restoration Score Distillation uses it (methods §2.5)."""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator

from rsd_med.base.settings import Settings
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.schedules import karras_fraction, karras_quantile
from rsd_med.diffusion.view import View
from rsd_med.operators.noise import complex_or_real_noise
from rsd_med.students.base import StudentLoss


class SiDSettings(Settings):
    """Score identity Distillation."""

    kind: Literal["sid"] = "sid"
    alpha: float = Field(1.2, ge=0, le=2, description="α, the weight of the squared teacher-fake gap")
    t_max: float = Field(0.8, gt=0, le=1, description="largest quantile of the ρ = 7 ramp: 0.8 is σ_t ≤ 24.4")
    t_min: float = Field(0.0, ge=0, lt=1, description="smallest quantile of the ramp")
    from_data_sigma: bool = Field(False, description="start the range of σ_t at the noise level of the data")

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if self.t_min >= self.t_max:
            raise ValueError(f"t_min ({self.t_min:g}) must be smaller than t_max ({self.t_max:g})")
        return self

    def build(self) -> "SiD":
        """Build the loss."""
        return SiD(self)


class SiD(StudentLoss):
    """``L = ω Σ (a − b) ⊙ [(a − y_θ) − α (a − b)]`` with ``ω = 1 / mean|y_θ − a|``, no gradient through ω.

    a and b are what teacher and fake score make of ``y_θ + σ_t n``. The gradient reaches the generator directly and
    through the inputs of both networks: putting them under ``no_grad`` is another, wrong loss.
    """

    def __init__(self, settings: SiDSettings) -> None:
        self.settings = settings

    def draw_levels(self, count: int, data_sigma: float, generator: torch.Generator) -> torch.Tensor:
        """Draw ``σ_t`` uniformly on the ρ = 7 ramp between the quantiles of the settings: ``(count,)`` float32."""
        low, high = self.settings.t_min, self.settings.t_max
        if self.settings.from_data_sigma and data_sigma > 0:
            low = max(low, karras_fraction(data_sigma))
        u = torch.rand(count, generator=generator, device=generator.device)
        return karras_quantile(low + u * (high - low))

    def __call__(
        self,
        observed: torch.Tensor,
        view: View,
        teacher: Denoiser,
        fake: Denoiser,
        data_sigma: float,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the loss of each item; see the class."""
        sigma = self.draw_levels(len(observed), data_sigma, generator)
        noisy = observed + complex_or_real_noise(observed, sigma, generator)
        a = view.denoise(teacher, noisy, sigma)
        b = view.denoise(fake, noisy, sigma)
        gap = a - b
        with torch.no_grad():
            weight = 1 / (observed - a).abs().flatten(1).mean(1).clamp_min(1e-5)
        product = gap * ((a - observed) - self.settings.alpha * gap)
        return weight * product.flatten(1).sum(1)
