"""What samplers share: EDM's grid of noise levels and its second-order step (arXiv 2206.00364).

A view is drawn before the walk and held to its end. For teachers that see images through masks this is the *fixed-mask*
sampler of Ambient Diffusion (arXiv 2305.19256): what the mask shows follows the law of the images, what it hides is
its mean given the rest.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.settings import KindSettings
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.schedules import karras_levels
from rsd_med.diffusion.view import View


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

    generator: Draws
    view: Callable[[], View]


class SamplerSettings(KindSettings):
    """A walk down the noise levels of EDM's grid.

    Attributes
    ----------
    deterministic
        Whether samples follow from latents and view alone.
    compares_masks
        Whether it needs a teacher that sees images through masks.
    """

    deterministic: ClassVar[bool] = False
    compares_masks: ClassVar[bool] = False

    steps: PositiveInt = Field(18, description="noise levels")
    sigma_min: float = Field(0.002, gt=0, description="smallest level above 0")
    sigma_max: float = Field(80.0, gt=0, description="largest level, at which the walk starts")
    rho: float = Field(7.0, gt=0, description="ρ: the larger, the more levels lie near the smallest")

    @abstractmethod
    def calls(self, data_sigma: float) -> int:
        """Count the network calls per image, for data of noise ``data_sigma``."""

    def effective(self, data_sigma: float) -> "SamplerSettings":
        """Return the sampler that walks the same way on data of noise ``data_sigma``: itself, or a plainer one."""
        del data_sigma
        return self

    @abstractmethod
    def walk(self, denoiser: Denoiser, view: View, noise: Tensor, data_sigma: float, fresh: Fresh | None) -> Tensor:
        """Sample as `sample` does; a sampler that is not deterministic always gets ``fresh``."""

    def levels(self, device: torch.device | str = "cpu") -> Tensor:
        """Return the decreasing levels and 0, ``(steps + 1,)`` float32."""
        return karras_levels(self.steps, self.sigma_min, self.sigma_max, self.rho, device)

    @torch.no_grad()
    def sample(
        self, denoiser: Denoiser, view: View, noise: Tensor, data_sigma: float = 0.0, fresh: Fresh | None = None
    ) -> Tensor:
        """Sample images from unit noise.

        Parameters
        ----------
        denoiser
            D(x; σ, context).
        view
            How the network sees the state; held fixed for the whole walk (arXiv 2305.19256, 2403.08728).
        noise
            Standard normal, ``(b, channels, y, x)`` float32.
        data_sigma
            Noise level of the data.
        fresh
            Further draws, which only deterministic samplers do without.

        Returns
        -------
        Tensor
            ``(b, channels, y, x)`` float32.

        Raises
        ------
        ValueError
            If the sampler draws on its way and there is nothing to draw from.
        """
        if fresh is None and not self.deterministic:
            raise ValueError(f"the sampler {self.kind} draws on its way: it needs something to draw from")
        return self.walk(denoiser, view, noise, data_sigma, fresh)


def heun_step(
    denoiser: Denoiser, view: View, x: Tensor, here: Tensor, there: Tensor, estimate: Tensor | None = None
) -> Tensor:
    """Go from level ``here`` to ``there`` by Heun's second-order step (EDM, algorithm 1), to 0 by Euler's.

    Parameters
    ----------
    denoiser, view
        D, and how it sees the state.
    x
        The state, ``(b, channels, y, x)``.
    here, there
        The levels, each a tensor of one number, ``there`` the smaller.
    estimate
        D at ``here``, where the caller knows it already.
    """
    if estimate is None:
        estimate = view.denoise(denoiser, x, here.expand(len(x)))
    slope = (x - estimate) / here
    ahead = x + (there - here) * slope
    if there > 0:
        estimate = view.denoise(denoiser, ahead, there.expand(len(x)))
        slope = (slope + (ahead - estimate) / there) / 2
        ahead = x + (there - here) * slope
    return ahead
