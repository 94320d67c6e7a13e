"""How a student generates: its denoiser, asked once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rsd_med.diffusion.clip import clip_to_range
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.view import View


@dataclass(frozen=True)
class OneStep:
    """A denoiser as a generator of one network call: ``G(z) = D(σ_init z; σ_init)`` (arXiv 2404.04057).

    Attributes
    ----------
    sigma_init
        The level that it takes its input for.
    clip
        Whether pictures end at black and white; see `rsd_med.diffusion.clip`.
    """

    sigma_init: float
    clip: bool = False

    def __call__(self, denoiser: Denoiser, view: View, noise: Tensor) -> Tensor:
        """Generate images ``(b, channels, y, x)`` from as many standard normal numbers."""
        level = torch.full((len(noise),), self.sigma_init, device=noise.device)
        images = view.denoise(denoiser, self.sigma_init * noise, level)
        return clip_to_range(images) if self.clip else images
