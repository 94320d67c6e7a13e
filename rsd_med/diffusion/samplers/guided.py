"""Reconstruction guidance: walks that lead to the same image under every mask (arXiv 2305.19256)."""

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.base.errors import ProtocolError
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.samplers.base import Fresh, SamplerSettings, heun_step
from rsd_med.diffusion.view import View


class GuidedSettings(SamplerSettings):
    """The walk of ``heun``, pulled to where further masks lead too; for teachers that see images through masks."""

    compares_masks: ClassVar[bool] = True

    kind: Literal["guided"] = "guided"
    masks: PositiveInt = Field(4, description="further masks, one network call each in every step")
    guidance: float = Field(0.1, gt=0, description="how far a step follows the gradient of the disagreement")

    def calls(self, data_sigma: float) -> int:
        """Count the network calls per image."""
        return (2 + self.masks) * self.steps - 1

    def walk(self, denoiser: Denoiser, view: View, noise: Tensor, data_sigma: float, fresh: Fresh | None) -> Tensor:
        """Draw the further masks, then walk.

        Raises
        ------
        ProtocolError
            Where the network sees whole images, so that there are no masks to compare.
        """
        assert fresh is not None
        if view.context is None:
            raise ProtocolError("sampler: guided compares masks, and this teacher sees whole images; use heun.")
        others = [fresh.view() for _ in range(self.masks)]
        levels = self.levels(noise.device)
        x = levels[0] * noise
        for here, there in pairwise(levels):
            estimate, pull = disagreement(denoiser, view, others, x, here.expand(len(x)))
            x = heun_step(denoiser, view, x, here, there, estimate) - self.guidance * pull
        return x


def disagreement(denoiser: Denoiser, view: View, others: list[View], x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return D under ``view``, and ``∇_x ½ Σ_k ‖D − D_k‖²`` over other views."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        estimate = view.denoise(denoiser, leaf, level)
        gaps = [(estimate - other.denoise(denoiser, leaf, level)).square().sum() for other in others]
        (gradient,) = torch.autograd.grad(0.5 * torch.stack(gaps).sum(), leaf)
    return estimate.detach(), gradient
