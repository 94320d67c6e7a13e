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
    skip
        Whether the share of the noise that the denoiser passes on is part of the image, ``c_skip σ_init z``. Without
        it the network need not learn to take it away again: what it leaves of it is grain.
    """

    sigma_init: float
    clip: bool = False
    skip: bool = True

    def __call__(self, denoiser: Denoiser, view: View, noise: Tensor) -> Tensor:
        """Generate images ``(b, channels, y, x)`` from as many standard normal numbers."""
        images = self.ask(denoiser, view.project(self.sigma_init * noise), view.context)
        return clip_to_range(images) if self.clip else images

    def ask(self, denoiser: Denoiser, shown: Tensor, context: Tensor | None) -> Tensor:
        """Generate images, not clipped, from what the network is shown of ``sigma_init`` times standard normal noise.

        Parameters
        ----------
        denoiser
            The student.
        shown
            ``(b, channels, y, x)``.
        context
            Further channels for the network, ``(b, context_channels, y, x)``.
        """
        level = torch.full_like(shown[:, 0, 0, 0], self.sigma_init)
        images: Tensor = denoiser(shown, level, context)
        return images if self.skip else images - denoiser.skip_share(level) * shown
