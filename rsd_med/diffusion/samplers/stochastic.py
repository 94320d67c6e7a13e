"""EDM's stochastic sampler (arXiv 2206.00364, algorithm 2)."""

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.samplers.base import Fresh, SamplerSettings, heun_step
from rsd_med.diffusion.view import View
from rsd_med.operators.noise import complex_or_real_noise

ROOT2 = 2**0.5


class StochasticSettings(SamplerSettings):
    """The walk of ``heun`` with noise added and removed on the way."""

    kind: Literal["stochastic"] = "stochastic"
    churn: float = Field(40.0, ge=0, description="how much noise is added over the whole walk (S_churn)")
    churn_min: float = Field(0.05, ge=0, description="levels below are not churned (S_tmin)")
    churn_max: float = Field(50.0, gt=0, description="nor are levels above (S_tmax)")
    churn_noise: float = Field(1.003, gt=0, description="standard deviation of the noise added (S_noise)")

    def calls(self, data_sigma: float) -> int:
        """Count the network calls per image."""
        return 2 * self.steps - 1

    def walk(self, denoiser: Denoiser, view: View, noise: Tensor, data_sigma: float, fresh: Fresh | None) -> Tensor:
        """Raise the level, then take Heun's step down from there."""
        assert fresh is not None
        levels = self.levels(noise.device)
        x = levels[0] * noise
        for here, there in pairwise(levels):
            x, higher = self._churned(x, here, fresh.generator)
            x = heun_step(denoiser, view, x, higher, there)
        return x

    def _churned(self, x: Tensor, level: Tensor, generator: Draws) -> tuple[Tensor, Tensor]:
        """Add noise and return the image and its new level: ``γ = min(S_churn / N, √2 − 1)`` more."""
        if not self.churn_min <= float(level) <= self.churn_max:
            return x, level
        higher = level * (1 + min(self.churn / self.steps, ROOT2 - 1))
        added = self.churn_noise * (higher**2 - level**2).sqrt()
        return x + complex_or_real_noise(x, added.expand(len(x)), generator), higher
