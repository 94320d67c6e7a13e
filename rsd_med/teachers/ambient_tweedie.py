"""Ambient Tweedie: the clean posterior mean from noisy data alone (arXiv 2404.10177)."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.base.settings import Settings
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.samplers.ancestral import ancestral_step
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.operators.channels import to_channels
from rsd_med.operators.linear import LinearOperator
from rsd_med.teachers.base import Objective, ObjectiveSettings, apply, raised, weighted_error

Below = Literal["resample", "clamp"]


class ConsistencySettings(Settings):
    """How a network is taught below the noise of the data (arXiv 2404.10177); as published: 6 walks of 6 steps."""

    coefficient: float = Field(
        1.0, gt=0, description="weight beside the loss above the noise; 10 / w(0.4) as published"
    )
    walks: int = Field(2, ge=2, description="independent walks from the data down to a lower level")
    steps: PositiveInt = Field(2, description="steps of each walk, one network call each")


class AmbientTweedieSettings(ObjectiveSettings):
    """Learn the clean posterior mean above the noise of the data."""

    kind: Literal["ambient_tweedie"] = "ambient_tweedie"
    below: Below = Field(
        "resample",
        description="what becomes of levels drawn below the noise of the data: drawn again, or raised to it, where "
        "they teach nothing; the published code's clamp is here to be compared with",
    )
    consistency: ConsistencySettings | None = Field(
        None, description="also teach the levels below the noise of the data, by consistency with those above"
    )

    def build(self, corruption: Corruption) -> "AmbientTweedie":
        """Build the objective; ProtocolError where the corruption adds no noise, or not to all of an image."""
        if not corruption.noise_everywhere:
            raise ProtocolError(
                "teacher.objective: ambient_tweedie needs images with the same noise in every pixel, and this "
                "corruption leaves some out; use ambient_masked (missing pixels) or ambient_fourier (k-space)."
            )
        if corruption.sigma <= 0:
            raise ProtocolError(
                "teacher.objective: ambient_tweedie needs noisy data, but corruption.sigma is 0; "
                "use denoising (noise-free data) or ambient_fourier (undersampled k-space)."
            )
        return AmbientTweedie(corruption, self.levels, self.below, self.consistency)


class AmbientTweedie(Objective):
    """``w(σ) ‖(1 − σ_n²/σ²) D(x; σ) + (σ_n²/σ²) x − y‖²`` with ``x = y + √(σ² − σ_n²) n`` and σ > σ_n.

    From the double Tweedie identity ``E[y|x] = (σ_n²/σ²) x + (1 − σ_n²/σ²) E[x_0|x]``: at the optimum D is the mean of
    the clean image. σ is drawn from the truncated law above σ_n instead of clamped to it. σ_n is each item's own, and
    where it is 0 this is ordinary denoising.
    """

    transforms = "permutations"  # the noise must stay white

    def __init__(
        self,
        corruption: Corruption,
        levels: LogNormalLevels,
        below: Below = "resample",
        consistency: ConsistencySettings | None = None,
    ) -> None:
        super().__init__(corruption, levels)
        self.below = below
        self.consistency = consistency

    def __call__(self, denoiser: Denoiser, measurement: Measurement, draws: Draws) -> Float[Tensor, " b"]:
        """Return the loss of each item; see the class."""
        y = to_channels(measurement.data)
        sigma_n = measurement.sigma.to(y.device)
        if self.below == "resample":
            sigma = self.levels.draw(len(y), draws, above=sigma_n)
        else:
            sigma = self.levels.draw(len(y), draws).maximum(sigma_n)
        loss = tweedie_loss(denoiser, y, sigma_n, sigma, draws)
        if self.consistency is not None:
            loss = loss + self.consistency.coefficient * self.consistency_loss(denoiser, y, sigma_n, draws)
        return loss

    def noised(
        self, measurement: Measurement, further: LinearOperator, sigma: Float[Tensor, " b"], draws: Draws
    ) -> Float[Tensor, "b c y x"]:
        """Return ``y + √(σ² − σ_n²) n``."""
        return raised(to_channels(measurement.data), measurement.sigma, sigma, draws)

    def consistency_loss(self, denoiser: Denoiser, y: Tensor, sigma_n: Tensor, draws: Draws) -> Float[Tensor, " b"]:
        """Return ``w(σ_n) ‖E[D(x'; σ')] − D(y; σ_n)‖²`` of each item, ``(b,)``; 0 for items without noise.

        x' is where a stochastic walk from y at σ_n arrives at a level σ' drawn below. The exact posterior mean is a
        martingale along the reverse process, and with the right D at σ_n it is the only one.

        The square is estimated by products of independent walks, ``Σ_{k≠l} d_k · d_l / K(K − 1)``, whose mean it is.
        The square of the mean over walks, as published, is larger by ``Var D(x') / K``: it would reward a D that varies
        less than it should. Gradients reach D(x'; σ') alone: neither the walks nor D(y; σ_n), which the loss above
        the noise teaches.

        Parameters
        ----------
        y
            Noisy data in channels, ``(b, channels, y, x)``.
        sigma_n
            Their noise, ``(b,)``.
        """
        settings = self.consistency or ConsistencySettings()
        start = torch.where(sigma_n > 0, sigma_n, 1.0)
        end = self.levels.draw(len(y), draws, below=start)
        ratio = (end / start) ** (1 / settings.steps)
        with torch.no_grad():
            target = denoiser(y, start)
        total, squares = torch.zeros_like(y), torch.zeros_like(y)
        for _ in range(settings.walks):
            x, estimate, level = y, target, start
            for step in range(settings.steps):
                lower = end if step == settings.steps - 1 else level * ratio
                x, level = ancestral_step(x, estimate, level, lower, draws), lower
                with torch.set_grad_enabled(torch.is_grad_enabled() and step == settings.steps - 1):
                    estimate = denoiser(x, level)
            gap = estimate - target
            total, squares = total + gap, squares + gap**2
        products = (total**2 - squares) / (settings.walks * (settings.walks - 1))
        return denoiser.weight(start) * products.flatten(1).sum(1) * (sigma_n > 0)

    def observe(self, image: Float[Tensor, "b c y x"], operator: LinearOperator) -> Float[Tensor, "b c y x"]:
        """Return ``A(x)``: the score above σ_n describes the law of the noise-free measurement."""
        return apply(operator, image)


def tweedie_loss(
    denoiser: Denoiser,
    y: Float[Tensor, "b c y x"],
    sigma_n: Float[Tensor, " b"],
    sigma: Float[Tensor, " b"],
    draws: Draws,
) -> Float[Tensor, " b"]:
    """Return the double Tweedie loss of each item, ``(b,)``, at levels ``σ ≥ σ_n`` (see ``AmbientTweedie``).

    Parameters
    ----------
    y
        Data in channels, ``(b, channels, y, x)``.
    sigma_n, sigma
        Noise in the data, and total noise, of each item, ``(b,)``; with σ_n = 0 this is ``w(σ) ‖D(y + σn; σ) − y‖²``.
    """
    noisy = raised(y, sigma_n, sigma, draws)
    share = ((sigma_n / sigma) ** 2).reshape(-1, 1, 1, 1)
    predicted = (1 - share) * denoiser(noisy, sigma) + share * noisy
    return weighted_error(denoiser, predicted - y, sigma)
