"""How a student generates: its denoiser, asked once or a few times."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rsd_med.diffusion.clip import clip_to_range
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.view import View


@dataclass(frozen=True)
class FewSteps:
    """A denoiser as a generator of one network call, ``G(z) = D(σ_init z; σ_init)`` (arXiv 2404.04057), or of a few.

    A further call denoises what the calls before have made: ``x ← D(x + σ z'; σ)``, as consistency models do (arXiv
    2303.01469). z' is z itself, moved by half the image in both directions, so that an image is still made of one z.

    Attributes
    ----------
    sigma_init
        The level that the first call takes its input for.
    clip
        Whether pictures end at black and white; see `rsd_med.diffusion.clip`.
    skip
        Whether the share of the noise that the first call passes on is part of the image, ``c_skip σ_init z``. Without
        it the network need not learn to take it away again: what it leaves of it is grain.
    further_levels
        σ of each further call. What the first call leaves of z is finer than such noise, and goes with it.
    """

    sigma_init: float
    clip: bool = False
    skip: bool = True
    further_levels: tuple[float, ...] = ()

    @property
    def calls(self) -> int:
        """How often the network is asked for an image."""
        return 1 + len(self.further_levels)

    def __call__(self, denoiser: Denoiser, view: View, noise: Tensor) -> Tensor:
        """Generate images ``(b, channels, y, x)`` from as many standard normal numbers."""
        images = self.ask(denoiser, view.project, view.context, noise)
        return clip_to_range(images) if self.clip else images

    def ask(
        self, denoiser: Denoiser, project: Callable[[Tensor], Tensor], context: Tensor | None, noise: Tensor
    ) -> Tensor:
        """Generate images, not clipped.

        Parameters
        ----------
        denoiser
            The student.
        project
            What the network is shown of an image in channels; see `View`.
        context
            Further channels for the network, ``(b, context_channels, y, x)``.
        noise
            z, ``(b, channels, y, x)``.
        """
        shown, level = project(self.sigma_init * noise), torch.full_like(noise[:, 0, 0, 0], self.sigma_init)
        images: Tensor = denoiser(shown, level, context)
        if not self.skip:
            images = images - denoiser.skip_share(level) * shown
        for sigma in self.further_levels:
            noise = torch.roll(noise, (noise.shape[-2] // 2, noise.shape[-1] // 2), (-2, -1))
            images = denoiser(project(images + sigma * noise), torch.full_like(level, sigma), context)
        return images
