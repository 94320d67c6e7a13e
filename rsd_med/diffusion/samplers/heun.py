"""EDM's deterministic sampler (arXiv 2206.00364, algorithm 1)."""

from itertools import pairwise
from typing import ClassVar, Literal

from torch import Tensor

from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.samplers.base import Fresh, SamplerSettings, heun_step
from rsd_med.diffusion.view import View


class HeunSettings(SamplerSettings):
    """EDM's second-order walk down to σ = 0: two network calls a level, but one at the last."""

    deterministic: ClassVar[bool] = True

    kind: Literal["heun"] = "heun"

    def calls(self, data_sigma: float) -> int:
        """Count the network calls per image."""
        return 2 * self.steps - 1

    def walk(self, denoiser: Denoiser, view: View, noise: Tensor, data_sigma: float, fresh: Fresh | None) -> Tensor:
        """Walk down all levels; the noise of the data does not matter."""
        levels = self.levels(noise.device)
        x = levels[0] * noise
        for here, there in pairwise(levels):
            x = heun_step(denoiser, view, x, here, there)
        return x
