"""Zero-filling: the adjoint alone."""

from typing import Literal

from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import Progress, Solver, SolverSettings


class ZeroFilled(Solver):
    """``x = A^H y``, or its approximate inverse off the grid."""

    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Ask the operator."""
        return measurement.operator.approximate_image(measurement.data)


class ZeroFilledSettings(SolverSettings):
    """A^H y: what was not sampled counts as zero; gridded with density compensation where samples lie off the grid."""

    solver = ZeroFilled
    fits_data = False

    kind: Literal["zero_filled"] = "zero_filled"
