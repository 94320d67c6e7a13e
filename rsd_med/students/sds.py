"""Score Distillation Sampling (arXiv 2209.14988): the teacher's score alone, without a fake one."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.view import View
from rsd_med.students.base import LossSettings, StudentLoss, per_item_weight


class SDSSettings(LossSettings):
    """Score Distillation Sampling: the baseline that SiD and DMD are compared with."""

    kind: Literal["sds"] = "sds"

    def build(self) -> "SDS":
        """Build the loss."""
        return SDS(self)


class SDS(StudentLoss):
    """``L = ω Σ (y_θ − a) ⊙ y_θ`` with ``ω = 1 / mean|y_θ − a|``: its gradient is ``ω (y_θ − a)``, with a held fixed.

    a is what the teacher makes of ``y_θ + σ_t n``. It is DMD's gradient with ``b = y_θ``, the estimate of a fake score
    that takes each generation for the only one there is. So nothing rewards generations that differ from one another:
    each climbs to a mode of the teacher's noisy law by itself, and of a Gaussian law the mean alone is left, whatever
    ω and the levels are. Kept because the papers compare with it, not to be used.
    """

    uses_fake = False

    def __init__(self, settings: SDSSettings) -> None:
        self.settings = settings

    def __call__(
        self,
        observed: Float[Tensor, "b c y x"],
        view: View,
        teacher: Denoiser,
        fake: Denoiser,
        data_sigma: float,
        draws: Draws,
    ) -> Float[Tensor, " b"]:
        """Return the loss of each item; see the class."""
        with torch.no_grad():
            noisy, sigma = self.settings.noised(observed, data_sigma, draws)
            a = view.denoise(teacher, noisy, sigma)
            direction = view.restrict(observed - a) * per_item_weight(observed, a, view).reshape(-1, 1, 1, 1)
        return (direction * observed).flatten(1).sum(1)
