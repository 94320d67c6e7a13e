"""Zero-filling: the adjoint alone."""

from typing import Literal

from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import Progress, Solver, SolverSettings


class ZeroFilled(Solver):
    """``x = A^H y``."""

    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Apply the adjoint."""
        return measurement.image()


class ZeroFilledSettings(SolverSettings):
    """A^H y: what was not sampled counts as zero."""

    solver = ZeroFilled

    kind: Literal["zero_filled"] = "zero_filled"
