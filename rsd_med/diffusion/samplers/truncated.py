"""EDM's sampler, stopped at the noise level of the data (arXiv 2404.10177)."""

from itertools import pairwise
from typing import ClassVar, Literal

from torch import Tensor

from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.samplers.base import Fresh, SamplerSettings, heun_step
from rsd_med.diffusion.samplers.heun import HeunSettings
from rsd_med.diffusion.view import View


class TruncatedSettings(SamplerSettings):
    """Stop before the first level below the noise of the data, at σ and not at σ², and denoise once.

    Data without noise leave nothing to stop at: the walk is then that of ``heun``.
    """

    deterministic: ClassVar[bool] = True

    kind: Literal["truncated"] = "truncated"

    def calls(self, data_sigma: float) -> int:
        """Count the network calls per image."""
        return 2 * int((self.levels()[1:-1] >= data_sigma).sum()) + 1

    def effective(self, data_sigma: float) -> SamplerSettings:
        """Return ``heun`` for data without noise."""
        return self if data_sigma > 0 else HeunSettings(**self.model_dump(exclude={"kind"}))

    def walk(self, denoiser: Denoiser, view: View, noise: Tensor, data_sigma: float, fresh: Fresh | None) -> Tensor:
        """Walk down to the last level that is not below ``data_sigma``, and return D there."""
        levels = self.levels(noise.device)
        x = levels[0] * noise
        for here, there in pairwise(levels):
            estimate = view.denoise(denoiser, x, here.expand(len(x)))
            if there < data_sigma:
                return estimate
            x = heun_step(denoiser, view, x, here, there, estimate)
        return x
