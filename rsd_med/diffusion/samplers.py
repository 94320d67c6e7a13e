"""From noise to images along the probability flow: EDM's Heun sampler, full and truncated (arXiv 2206.00364)."""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, PositiveInt

from rsd_med.base.settings import Settings
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.schedules import karras_levels
from rsd_med.diffusion.view import View
from rsd_med.operators.noise import complex_or_real_noise


class SamplerSettings(Settings):
    """EDM's deterministic second-order sampler (algorithm 1 without churn)."""

    kind: Literal["heun", "truncated"] = Field(
        "heun", description="heun: down to σ = 0; truncated: stop at the noise level of the data and denoise once"
    )
    steps: PositiveInt = Field(18, description="noise levels; two network calls each but the last")
    sigma_min: float = Field(0.002, gt=0)
    sigma_max: float = Field(80.0, gt=0)
    rho: float = Field(7.0, gt=0)

    def stop(self, data_sigma: float) -> float:
        """Return the level (not its square) at which this sampler stops, for data of noise ``data_sigma``."""
        return data_sigma if self.kind == "truncated" else 0.0

    def calls(self, data_sigma: float) -> int:
        """Count the network calls per image."""
        levels = karras_levels(self.steps, self.sigma_min, self.sigma_max, self.rho)
        stop = self.stop(data_sigma)
        return 2 * self.steps - 1 if stop == 0 else 2 * int((levels[1:] >= stop).sum()) + 1


@torch.no_grad()
def sample(
    denoiser: Denoiser, view: View, noise: torch.Tensor, settings: SamplerSettings, data_sigma: float = 0.0
) -> torch.Tensor:
    """Sample images from unit noise.

    Parameters
    ----------
    denoiser
        D(x; σ, context).
    view
        How the network sees the state; held fixed for the whole walk (methods §5, §6.5).
    noise
        Standard normal, ``(b, channels, y, x)`` float32.
    settings
        The sampler.
    data_sigma
        Noise level of the data; ``truncated`` stops before the first level below it and returns D there (methods
        §4.3: the stop is at σ, not σ²).

    Returns
    -------
    ``(b, channels, y, x)`` float32.
    """
    levels = karras_levels(settings.steps, settings.sigma_min, settings.sigma_max, settings.rho, noise.device)
    stop = settings.stop(data_sigma)
    x = levels[0] * noise
    for here, there in pairwise(levels):
        estimate = view.denoise(denoiser, x, here.expand(len(x)))
        if there < stop:
            return estimate
        slope = (x - estimate) / here
        ahead = x + (there - here) * slope
        if there > 0:
            estimate = view.denoise(denoiser, ahead, there.expand(len(x)))
            slope = (slope + (ahead - estimate) / there) / 2
            ahead = x + (there - here) * slope
        x = ahead
    return x


def ancestral_step(
    x: torch.Tensor, estimate: torch.Tensor, here: torch.Tensor, there: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Go from level ``here`` to ``there`` as if ``estimate`` were the clean image (DDPM's step, arXiv 2006.11239).

    Draws from ``q(x_there | x_here, x_0 = D) = N(D + r² (x − D), there² (1 − r²))`` with ``r = there / here``. The mean
    is that of the exact reverse process, whatever the size of the step; the variance lacks that of ``x_0`` given x.

    Parameters
    ----------
    x, estimate
        Noisy image, and what the denoiser makes of it, ``(b, channels, y, x)``.
    here, there
        Levels of each item, ``(b,)``, ``there`` the smaller.
    generator
        For the fresh noise.
    """
    ratio2 = ((there / here) ** 2).reshape(-1, 1, 1, 1)
    fresh = complex_or_real_noise(x, there * (1 - ratio2.flatten()).clamp_min(0).sqrt(), generator)
    return estimate + ratio2 * (x - estimate) + fresh


def one_step(denoiser: Denoiser, view: View, noise: torch.Tensor, sigma_init: float) -> torch.Tensor:
    """Generate in one network call: ``G(z) = D(σ_init z; σ_init)`` (methods §2.4); ``noise`` is standard normal."""
    level = torch.full((len(noise),), sigma_init, device=noise.device)
    return view.denoise(denoiser, sigma_init * noise, level)
