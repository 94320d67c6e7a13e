"""A-OS: one evaluation of the teacher on the adjoint (Aali et al. 2024, arXiv 2403.08728)."""

from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import PriorSolver, PriorSolverSettings, Progress, repeat, sample_generators
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.conjugate_gradient import conjugate_gradient


class AmbientOneStep(PriorSolver):
    """Ask the teacher once."""

    settings: "AmbientOneStepSettings"

    @torch.no_grad()
    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Show the zero-filled image, under the mask that made it."""
        self.prior.check(measurement)
        count = self.settings.samples
        like = repeat(measurement, count)
        view = self.prior.scan_view(measurement, sample_generators(count, generator))
        # The projection Ã^H Ã of any image that explains the data is Ã^H y: least squares gives one.
        image = to_channels(_explaining(like))
        level = torch.full((count,), self.settings.sigma, device=image.device)
        return to_complex(view.denoise(self.prior.denoiser, image, level))


class AmbientOneStepSettings(PriorSolverSettings):
    """``D(Ã^H y; σ)`` at the smallest noise level, averaged over further masks Ã of the scan's mask."""

    solver = AmbientOneStep

    kind: Literal["one_step"] = "one_step"
    sigma: float = Field(0.003, gt=0, description="the network's noise level")
    samples: PositiveInt = Field(1, description="further masks; their spread is no posterior")


def _explaining(measurement: Measurement) -> Tensor:
    """Return a least-squares image."""
    operator = measurement.operator
    return conjugate_gradient(lambda x: operator.normal(x) + 1e-3 * x, measurement.image(), 40, tolerance=1e-4)
