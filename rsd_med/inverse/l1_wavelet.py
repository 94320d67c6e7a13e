"""L1-wavelet compressed sensing by FISTA (Lustig et al. 2007; Beck & Teboulle 2009)."""

import math
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import Progress, Solver, SolverSettings
from rsd_med.inverse.wavelets import Wavelet, WaveletName, fitting_levels, soft_threshold

LEAST_EIGENVALUE = 1e-12
"""Of an operator that sees nothing, the largest eigenvalue of A^H A counts as this."""


class L1Wavelet(Solver):
    """Accelerated proximal gradient steps."""

    settings: "L1WaveletSettings"

    @torch.no_grad()
    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Run FISTA from zero."""
        settings, operator = self.settings, measurement.operator
        adjoint = measurement.image()
        height, width = adjoint.shape[-2:]
        levels = fitting_levels(height, width, settings.levels)
        wavelet = Wavelet(settings.wavelet, levels)
        step = 1 / max(float(operator.largest_eigenvalue(adjoint)), LEAST_EIGENVALUE)
        # The state is `ahead`, the extrapolated point; `x` is the last proximal point.
        x = ahead = torch.zeros_like(adjoint)
        momentum = 1.0
        for iteration in range(settings.iterations):
            moved = ahead - step * (operator.normal(ahead) - adjoint)
            shift = (0, 0)
            if settings.random_shifts and levels:
                drawn = generator.integers(2**levels, 2)
                shift = (int(drawn[0]), int(drawn[1]))
            following = _shrink(moved, wavelet, step * settings.regularisation, shift)
            faster = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = following + (momentum - 1) / faster * (following - x)
            x, momentum = following, faster
            progress((iteration + 1) / settings.iterations)
        return x


class L1WaveletSettings(SolverSettings):
    """``argmin ½ ‖A x − y‖² + λ ‖W x‖₁``."""

    solver = L1Wavelet

    kind: Literal["l1_wavelet"] = "l1_wavelet"
    regularisation: float = Field(3e-3, ge=0, description="λ, in scaled units")
    iterations: PositiveInt = Field(100, description="FISTA steps")
    wavelet: WaveletName = Field("db2", description="Daubechies family; db2 is best of these from 48 pixels a side on")
    levels: PositiveInt = Field(3, description="levels of the transform, at most")
    random_shifts: bool = Field(
        True, description="shift the wavelets' grid at random in every step (cycle spinning, as BART does): no blocks"
    )


def _shrink(image: Tensor, wavelet: Wavelet, threshold: float, shift: tuple[int, int]) -> Tensor:
    """Apply ``W^H shrink W`` on a shifted grid; sides that do not divide are padded with zeros."""
    height, width = image.shape[-2:]
    multiple = 2**wavelet.levels
    padded = functional.pad(image, (0, -width % multiple, 0, -height % multiple))
    rolled = padded.roll(shift, dims=(-2, -1))
    shrunk = wavelet.inverse(soft_threshold(wavelet.forward(rolled), threshold))
    return shrunk.roll((-shift[0], -shift[1]), dims=(-2, -1))[..., :height, :width]
