"""From noise to images: EDM's Heun sampler, full, truncated or with churn (arXiv 2206.00364), and DDPM's steps.

A view is drawn before the walk and held to its end. For teachers that see images through masks this is the *fixed-mask*
sampler (arXiv 2305.19256): what the mask shows follows the law of the images, what it hides becomes its
mean given the rest. ``guided`` draws further masks and pulls the walk to where all of them lead to the same image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, PositiveInt

from rsd_med.base.errors import ProtocolError
from rsd_med.base.settings import Settings
from rsd_med.diffusion.clip import clip_to_range
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.schedules import karras_levels
from rsd_med.diffusion.view import View
from rsd_med.operators.noise import complex_or_real_noise

Kind = Literal["heun", "truncated", "stochastic", "ancestral", "guided"]
ROOT2 = 2**0.5


class SamplerSettings(Settings):
    """A walk down the noise levels of EDM's grid."""

    kind: Kind = Field(
        "heun",
        description="heun: EDM's second-order walk down to σ = 0; truncated: stop at the noise level of the data and "
        "denoise once; stochastic: heun, with noise added and removed on the way; ancestral: DDPM's steps of one call; "
        "guided: heun, with reconstruction guidance between masks",
    )
    steps: PositiveInt = Field(18, description="noise levels; two network calls each but the last (ancestral: one)")
    sigma_min: float = Field(0.002, gt=0)
    sigma_max: float = Field(80.0, gt=0)
    rho: float = Field(7.0, gt=0)
    churn: float = Field(40.0, ge=0, description="stochastic: how much noise is added over the whole walk (S_churn)")
    churn_min: float = Field(0.05, ge=0, description="stochastic: levels below are not churned (S_tmin)")
    churn_max: float = Field(50.0, gt=0, description="stochastic: nor are levels above (S_tmax)")
    churn_noise: float = Field(1.003, gt=0, description="stochastic: standard deviation of the noise added (S_noise)")
    masks: PositiveInt = Field(4, description="guided: further masks, one network call each in every step")
    guidance: float = Field(0.1, gt=0, description="guided: how far a step follows the gradient of the disagreement")

    @property
    def deterministic(self) -> bool:
        """Whether samples follow from latents and view alone."""
        return self.kind in ("heun", "truncated")

    def stop(self, data_sigma: float) -> float:
        """Return the level (not its square) at which this sampler stops, for data of noise ``data_sigma``."""
        return data_sigma if self.kind == "truncated" else 0.0

    def calls(self, data_sigma: float) -> int:
        """Count the network calls per image."""
        levels = karras_levels(self.steps, self.sigma_min, self.sigma_max, self.rho)
        stop = self.stop(data_sigma)
        if self.kind == "ancestral":
            return self.steps
        further = self.masks * self.steps if self.kind == "guided" else 0
        return (2 * self.steps - 1 if stop == 0 else 2 * int((levels[1:] >= stop).sum()) + 1) + further


@dataclass(frozen=True)
class Fresh:
    """What a sampler may draw on its way.

    Attributes
    ----------
    generator
        For noise.
    view
        Draws another view, from the law of the one that is held.
    """

    generator: torch.Generator
    view: Callable[[], View]


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    view: View,
    noise: torch.Tensor,
    settings: SamplerSettings,
    data_sigma: float = 0.0,
    fresh: Fresh | None = None,
) -> torch.Tensor:
    """Sample images from unit noise.

    Parameters
    ----------
    denoiser
        D(x; σ, context).
    view
        How the network sees the state; held fixed for the whole walk (arXiv 2305.19256, 2403.08728).
    noise
        Standard normal, ``(b, channels, y, x)`` float32.
    settings
        The sampler.
    data_sigma
        Noise level of the data; ``truncated`` stops before the first level below it and returns D there
        (arXiv 2404.10177).
    fresh
        Further draws, which only deterministic samplers do without.

    Returns
    -------
    ``(b, channels, y, x)`` float32.

    Raises
    ------
    ProtocolError
        For ``guided`` where the network sees whole images, so that there are no masks to compare.
    """
    if not settings.deterministic and fresh is None:
        raise ValueError(f"the sampler {settings.kind} draws on its way: it needs something to draw from")
    others: list[View] = []
    if settings.kind == "guided" and fresh is not None:
        if view.context is None:
            raise ProtocolError("sampler: guided compares masks, and this teacher sees whole images; use heun.")
        others = [fresh.view() for _ in range(settings.masks)]
    levels = karras_levels(settings.steps, settings.sigma_min, settings.sigma_max, settings.rho, noise.device)
    stop = settings.stop(data_sigma)
    x = levels[0] * noise
    for here, there in pairwise(levels):
        if settings.kind == "stochastic" and fresh is not None:
            x, here = churned(x, here, settings, fresh.generator)
        level = here.expand(len(x))
        if others:
            estimate, pull = disagreement(denoiser, view, others, x, level)
        else:
            estimate, pull = view.denoise(denoiser, x, level), None
        if there < stop:
            return estimate
        if settings.kind == "ancestral" and fresh is not None:
            x = ancestral_step(x, estimate, level, there.expand(len(x)), fresh.generator)
            continue
        slope = (x - estimate) / here
        ahead = x + (there - here) * slope
        if there > 0:
            estimate = view.denoise(denoiser, ahead, there.expand(len(x)))
            slope = (slope + (ahead - estimate) / there) / 2
            ahead = x + (there - here) * slope
        x = ahead if pull is None else ahead - settings.guidance * pull
    return x


def churned(
    x: torch.Tensor, level: torch.Tensor, settings: SamplerSettings, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add noise and return the image and its new level (EDM, algorithm 2): ``γ = min(S_churn / N, √2 − 1)`` more."""
    if not settings.churn_min <= float(level) <= settings.churn_max:
        return x, level
    higher = level * (1 + min(settings.churn / settings.steps, ROOT2 - 1))
    added = settings.churn_noise * (higher**2 - level**2).sqrt()
    return x + complex_or_real_noise(x, added.expand(len(x)), generator), higher


def disagreement(
    denoiser: Denoiser, view: View, others: list[View], x: torch.Tensor, level: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return D under ``view``, and ``∇_x ½ Σ_k ‖D − D_k‖²`` over other views (arXiv 2305.19256)."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        estimate = view.denoise(denoiser, leaf, level)
        gaps = [(estimate - other.denoise(denoiser, leaf, level)).square().sum() for other in others]
        (gradient,) = torch.autograd.grad(0.5 * torch.stack(gaps).sum(), leaf)
    return estimate.detach(), gradient


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


@dataclass(frozen=True)
class OneStep:
    """How a denoiser generates in one network call: ``G(z) = D(σ_init z; σ_init)`` (arXiv 2404.04057).

    Attributes
    ----------
    sigma_init
        The level that it takes its input for.
    clip
        Whether pictures end at black and white; see `bounds`.
    """

    sigma_init: float
    clip: bool = False

    def __call__(self, denoiser: Denoiser, view: View, noise: torch.Tensor) -> torch.Tensor:
        """Generate images ``(b, channels, y, x)`` from as many standard normal numbers."""
        level = torch.full((len(noise),), self.sigma_init, device=noise.device)
        images = view.denoise(denoiser, self.sigma_init * noise, level)
        return clip_to_range(images) if self.clip else images
