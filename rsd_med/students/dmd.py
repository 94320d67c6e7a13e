"""Distribution Matching Distillation (arXiv 2311.18828): the reverse KL's gradient."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rsd_med.diffusion.view import View
from rsd_med.students.base import LossSettings, StudentLoss, per_item_weight


class DMDSettings(LossSettings):
    """Distribution Matching Distillation; its published range of levels is 0.02 to 0.98."""

    kind: Literal["dmd"] = "dmd"

    def build(self) -> "DMD":
        """Build the loss."""
        return DMD(self)


class DMD(StudentLoss):
    """``L = ω Σ (b − a) ⊙ y_θ`` with ``ω = 1 / mean|y_θ − a|``: its gradient is ``ω (b − a)``, with a and b held fixed.

    a and b are what teacher and fake score make of ``y_θ + σ_t n``. Nothing passes through either network, which makes
    a step cheaper than SiD's. The sum over pixels gives gradients of SiD's size: the same rates suit both.
    """

    def compare(
        self, observed: Float[Tensor, "b c y x"], a: Float[Tensor, "b c y x"], b: Float[Tensor, "b c y x"], view: View
    ) -> Float[Tensor, " b"]:
        """Return the loss of each item; see the class."""
        with torch.no_grad():
            direction = view.restrict(b - a) * per_item_weight(observed, a, view).reshape(-1, 1, 1, 1)
        return (direction * observed).flatten(1).sum(1)
