"""Zero-filling: the adjoint alone."""

from typing import Literal

import torch
from torch import Tensor

from rsd_med.base.settings import Settings
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import Progress, Solver
from rsd_med.inverse.prior import Prior


class ZeroFilledSettings(Settings):
    """A^H y: what was not sampled counts as zero."""

    kind: Literal["zero_filled"] = "zero_filled"

    def build(self, prior: Prior | None = None) -> "ZeroFilled":
        """Build the solver; the prior is not used."""
        return ZeroFilled()


class ZeroFilled(Solver):
    """``x = A^H y``."""

    def solve(self, measurement: Measurement, generator: torch.Generator, progress: Progress) -> Tensor:
        """Apply the adjoint."""
        return measurement.image()
