"""Zero-filling: the adjoint alone."""

from typing import Literal

from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import Progress, Solver, SolverSettings
from rsd_med.operators.fourier import ifft2c


class ZeroFilled(Solver):
    """``x = A^H y``, or its approximate inverse off the grid; shown as the root-sum-of-squares of ``F^H y``."""

    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Ask the operator."""
        return measurement.operator.approximate_image(measurement.data)

    def coil_images(self, measurement: Measurement) -> Tensor | None:
        """Return F^H y, on the grid: fastMRI's zero-filled image is the root-sum-of-squares of these."""
        on_grid = measurement.data.shape[-2:] == measurement.size
        return ifft2c(measurement.data[0]) if on_grid else None


class ZeroFilledSettings(SolverSettings):
    """A^H y: what was not sampled counts as zero; gridded with density compensation where samples lie off the grid."""

    solver = ZeroFilled
    fits_data = False

    kind: Literal["zero_filled"] = "zero_filled"
