"""The signature that every student loss shares, and the noise levels at which teacher and fake score are compared."""

from abc import ABC, abstractmethod
from typing import Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.settings import KindSettings
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.schedules import karras_fraction, karras_quantile
from rsd_med.diffusion.view import View
from rsd_med.operators.noise import complex_or_real_noise


class LossSettings(KindSettings):
    """What all losses have in common: levels σ_t are drawn uniformly between two quantiles of the ρ = 7 ramp.

    The published range (arXiv 2404.04057) is 0 to 0.8. Half of its draws lie below 0.085 or above 5.8. Of the teacher's
    training levels only 15 % lie below and 0.7 % above, so a teacher of thousands of images knows little there, and the
    student learns its errors (docs/results.md). The published protocols state the published range.
    """

    t_max: float = Field(0.6, gt=0, le=1, description="largest quantile of the ρ = 7 ramp: 0.6 is σ_t ≤ 5.8")
    t_min: float = Field(0.2, ge=0, lt=1, description="smallest quantile of the ramp: 0.2 is σ_t ≥ 0.085")
    from_data_sigma: bool = Field(
        True,
        description="draw no level below the noise of the data, where a teacher of thousands of images knows little; "
        "for students of millions of images: false, with t_min 0 and t_max 0.8",
    )

    @abstractmethod
    def build(self) -> "StudentLoss":
        """Build the loss."""

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if self.t_min >= self.t_max:
            raise ValueError(f"t_min ({self.t_min:g}) must be smaller than t_max ({self.t_max:g})")
        return self

    def draw_levels(self, count: int, data_sigma: float, draws: Draws) -> Float[Tensor, " b"]:
        """Draw ``(count,)`` levels, float32; ``data_sigma`` is the noise level of the measurements."""
        low = self.t_min
        if self.from_data_sigma and data_sigma > 0:
            low = max(low, karras_fraction(data_sigma))
        u = draws.uniform(count)
        return karras_quantile(low + u * (self.t_max - low))

    def noised(
        self, observed: Float[Tensor, "b c y x"], data_sigma: float, draws: Draws
    ) -> tuple[Float[Tensor, "b c y x"], Float[Tensor, " b"]]:
        """Return ``y_θ + σ_t n`` for ``observed`` ``(b, channels, y, x)``, and its levels σ_t ``(b,)``."""
        sigma = self.draw_levels(len(observed), data_sigma, draws)
        return observed + complex_or_real_noise(observed, sigma, draws), sigma


class StudentLoss(ABC):
    """What distillation asks of an observed generation.

    Attributes
    ----------
    uses_fake
        Whether the loss asks the fake score. Where it does not, none is held or trained, and the teacher is handed over
        in its place.
    through_networks
        Whether gradients reach the generator through the inputs of teacher and fake score, too.
    """

    uses_fake: bool = True
    through_networks: bool = False

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings

    def __call__(
        self,
        observed: Float[Tensor, "b c y x"],
        view: View,
        teacher: Denoiser,
        fake: Denoiser,
        data_sigma: float,
        draws: Draws,
    ) -> Float[Tensor, " b"]:
        """Return the loss of each item, ``(b,)`` float32: one level and noise for each.

        Parameters
        ----------
        observed
            ``y_θ = A(G(z))`` in channels, with gradient, ``(b, channels, y, x)``.
        view
            How both networks are shown noisy versions of it.
        teacher, fake
            Frozen parameters.
        data_sigma
            Noise level of the measurements.
        draws
            For levels and noise.
        """
        noisy, sigma = self.settings.noised(observed, data_sigma, draws)
        with torch.set_grad_enabled(self.through_networks and torch.is_grad_enabled()):
            a = view.denoise(teacher, noisy, sigma)
            b = view.denoise(fake, noisy, sigma) if self.uses_fake else observed.detach()
        return self.compare(observed, a, b, view)

    @abstractmethod
    def compare(
        self, observed: Float[Tensor, "b c y x"], a: Float[Tensor, "b c y x"], b: Float[Tensor, "b c y x"], view: View
    ) -> Float[Tensor, " b"]:
        """Return the loss of each item from ``y_θ`` and from what the networks make of ``y_θ + σ_t n``.

        Parameters
        ----------
        observed
            As in ``__call__``.
        a, b
            The teacher's estimate and the fake score's; b is ``y_θ`` itself where the loss asks no fake score.
        view
            Says where they are compared.
        """


def per_item_weight(
    observed: Float[Tensor, "b c y x"], estimate: Float[Tensor, "b c y x"], view: View
) -> Float[Tensor, " b"]:
    """Return ``ω = 1 / mean|y_θ − a|`` of each item, at most 1e5, without gradient: ``(b,)`` (arXiv 2404.04057)."""
    with torch.no_grad():
        return 1 / view.mean((observed - estimate).abs()).clamp_min(1e-5)
