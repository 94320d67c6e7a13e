"""DDPM's ancestral sampler (arXiv 2006.11239)."""

from itertools import pairwise
from typing import Literal

from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.samplers.base import Fresh, SamplerSettings
from rsd_med.diffusion.view import View
from rsd_med.operators.noise import complex_or_real_noise


class AncestralSettings(SamplerSettings):
    """DDPM's steps, one network call each."""

    kind: Literal["ancestral"] = "ancestral"

    def calls(self, data_sigma: float) -> int:
        """Count the network calls per image."""
        return self.steps

    def walk(self, denoiser: Denoiser, view: View, noise: Tensor, data_sigma: float, fresh: Fresh | None) -> Tensor:
        """Draw every state from its law given the last one."""
        assert fresh is not None
        levels = self.levels(noise.device)
        x = levels[0] * noise
        for here, there in pairwise(levels):
            level = here.expand(len(x))
            estimate = view.denoise(denoiser, x, level)
            x = ancestral_step(x, estimate, level, there.expand(len(x)), fresh.generator)
        return x


def ancestral_step(x: Tensor, estimate: Tensor, here: Tensor, there: Tensor, generator: Draws) -> Tensor:
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
