"""CG-SENSE: regularised least squares with coil maps (Pruessmann et al. 2001, Magn. Reson. Med. 46, 638)."""

from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import Progress, Solver, SolverSettings
from rsd_med.operators.conjugate_gradient import conjugate_gradient


class CGSense(Solver):
    """Solve ``(A^H A + λ) x = A^H y``."""

    settings: "CGSenseSettings"

    @torch.no_grad()
    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Run conjugate gradients from zero."""
        operator, weight = measurement.operator, self.settings.regularisation
        return conjugate_gradient(
            lambda x: operator.normal(x) + weight * x,
            measurement.image(),
            self.settings.iterations,
            tolerance=self.settings.tolerance,
            report=progress,
        )


class CGSenseSettings(SolverSettings):
    """``argmin ‖A x − y‖² + λ ‖x‖²`` by conjugate gradients."""

    solver = CGSense

    kind: Literal["cg_sense"] = "cg_sense"
    regularisation: float = Field(
        1e-2, ge=0, description="λ, beside an A^H A of largest eigenvalue 1 on the grid, and about as large off it"
    )
    iterations: PositiveInt = Field(40, description="conjugate-gradient steps, at most")
    tolerance: float = Field(1e-5, ge=0, description="stop at this residual, as a share of the right-hand side")
