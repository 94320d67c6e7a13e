"""Score identity Distillation (arXiv 2404.04057) as Restoration Score Distillation (arXiv 2505.13377) uses it."""

from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from rsd_med.diffusion.view import View
from rsd_med.students.base import LossSettings, StudentLoss, per_item_weight


class SiDSettings(LossSettings):
    """Score identity Distillation."""

    kind: Literal["sid"] = "sid"
    alpha: float = Field(1.2, ge=0, le=2, description="α, the weight of the squared teacher-fake gap")

    def build(self) -> "SiD":
        """Build the loss."""
        return SiD(self)


class SiD(StudentLoss):
    """``L = ω Σ (a − b) ⊙ [(a − y_θ) − α (a − b)]`` with ``ω = 1 / mean|y_θ − a|``, no gradient through ω.

    a and b are what teacher and fake score make of ``y_θ + σ_t n``. The gradient reaches the generator directly and
    through the inputs of both networks: putting them under ``no_grad`` is another loss, distribution matching.
    """

    through_networks = True

    def __init__(self, settings: SiDSettings) -> None:
        super().__init__(settings)
        self.alpha = settings.alpha

    def compare(
        self, observed: Float[Tensor, "b c y x"], a: Float[Tensor, "b c y x"], b: Float[Tensor, "b c y x"], view: View
    ) -> Float[Tensor, " b"]:
        """Return the loss of each item; see the class."""
        gap = view.restrict(a - b)
        product = gap * ((a - observed) - self.alpha * gap)
        return per_item_weight(observed, a, view) * product.flatten(1).sum(1)
