"""Creative training: large noise is learned from noisy copies alone, small noise from clean images.

What decides the layout of a sample can then not be memorised (arXiv 2502.21278).
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from rsd_med.base.devices import sent
from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import GENERATED, Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.operators.channels import to_channels
from rsd_med.teachers.ambient_tweedie import tweedie_loss
from rsd_med.teachers.base import ObjectiveSettings
from rsd_med.teachers.denoising import Denoising


class CreativeSettings(ObjectiveSettings):
    """Learn large noise levels from one noisy copy of each image, and small ones from the image."""

    kind: Literal["creative"] = "creative"
    sigma: float = Field(
        0.5, gt=0, description="noise of the copies, in scaled units: levels below learn from the images as they are"
    )

    def build(self, corruption: Corruption) -> "Creative":
        """Build the objective; ProtocolError where the data have noise of their own."""
        if corruption.sigma > 0:
            raise ProtocolError(
                "teacher.objective: creative makes its own noisy copies and needs data without noise, but "
                f"corruption.sigma is {corruption.sigma:g}; use ambient_tweedie."
            )
        return Creative(corruption, self.levels, self.sigma)


class Creative(Denoising):
    """Ambient Tweedie on a noisy copy ``y + σ_n ε`` for levels σ ≥ σ_n, ordinary denoising of y below.

    ε is fixed for each image, by its name: what decides the layout of a sample is learned from a copy that cannot be
    remembered better than its noise allows. Both branches have the clean posterior mean as their minimum.

    Parameters
    ----------
    corruption, levels
        As for every objective.
    sigma
        σ_n.
    """

    transforms = "none"  # a turned image would get another copy's noise

    def __init__(self, corruption: Corruption, levels: LogNormalLevels, sigma: float) -> None:
        super().__init__(corruption, levels)
        self.sigma = sigma

    def __call__(self, denoiser: Denoiser, measurement: Measurement, draws: Draws) -> Float[Tensor, " b"]:
        """Return the loss of each item; see the class."""
        y = to_channels(measurement.image())
        sigma = self.levels.draw(len(y), draws)
        sigma_n = torch.where(sigma >= self.sigma, self.sigma, 0.0)
        copies = y + sigma_n.reshape(-1, 1, 1, 1) * self.unit_noise(y, measurement.ids, draws)
        return tweedie_loss(denoiser, copies, sigma_n, sigma, draws)

    def unit_noise(
        self, like: Float[Tensor, "b c y x"], ids: tuple[str, ...], draws: Draws
    ) -> Float[Tensor, "b c y x"]:
        """Return ε: of an image, the same whenever it comes by; of a generation, which comes by once, a fresh one."""
        noise = draws.normal(*like.shape).to(like.device)
        if all(name == GENERATED for name in ids):
            return noise
        # Of a source's images, whose names say which copy: made on the CPU, and sent together.
        own = [generator_for(0, "copy", name).normal(*like.shape[1:]) for name in ids if name != GENERATED]
        if len(own) == len(ids):
            return sent(torch.stack(own), like.device)
        places = [item for item, name in enumerate(ids) if name != GENERATED]
        return noise.index_copy(0, sent(torch.tensor(places), like.device), sent(torch.stack(own), like.device))
