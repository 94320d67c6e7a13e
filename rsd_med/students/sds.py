"""Score Distillation Sampling (arXiv 2209.14988): the teacher's score alone, without a fake one."""

from typing import Literal

from rsd_med.students.base import LossSettings
from rsd_med.students.dmd import DMD


class SDSSettings(LossSettings):
    """Score Distillation Sampling: the baseline that SiD and DMD are compared with."""

    kind: Literal["sds"] = "sds"

    def build(self) -> "SDS":
        """Build the loss."""
        return SDS(self)


class SDS(DMD):
    """``L = ω Σ (y_θ − a) ⊙ y_θ`` with ``ω = 1 / mean|y_θ − a|``: its gradient is ``ω (y_θ − a)``, with a held fixed.

    a is what the teacher makes of ``y_θ + σ_t n``. It is DMD's gradient with ``b = y_θ``, the estimate of a fake score
    that takes each generation for the only one there is. So nothing rewards generations that differ from one another:
    each climbs to a mode of the teacher's noisy law by itself, and of a Gaussian law the mean alone is left, whatever
    ω and the levels are. Kept because the papers compare with it, not to be used.
    """

    uses_fake = False
