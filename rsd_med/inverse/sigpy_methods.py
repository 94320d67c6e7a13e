"""sigpy's apps for compressed sensing, run on our measurements through our operators."""

from abc import abstractmethod
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import Progress, Solver, SolverSettings
from rsd_med.inverse.l1_wavelet import LEAST_EIGENVALUE
from rsd_med.inverse.sigpy_linop import to_sigpy
from rsd_med.inverse.wavelets import WaveletName

DUAL_STEP = 0.1
"""Of the primal-dual method. Dual variables are residuals and λ, far smaller than images: equal steps for both, sigpy's
default, leave a real brain at R = 4 after 100 steps 3 dB short of where they end."""


class SigpySolver(Solver):
    """A ``sigpy.app.LinearLeastSquares``, step by step."""

    @torch.no_grad()
    def solve(self, measurement: Measurement, generator: torch.Generator, progress: Progress) -> Tensor:
        """Run the app from zero."""
        image, data = measurement.image(), measurement.data
        # sigpy would estimate it from numpy's global random numbers.
        largest = max(float(measurement.operator.largest_eigenvalue(image)), LEAST_EIGENVALUE)
        app = self.app(to_sigpy(measurement.operator, image, data), data[0].numpy(force=True), largest)
        while not app.alg.done():
            app.alg.update()
            progress(app.alg.iter / app.alg.max_iter)
        return torch.tensor(app.x, device=image.device).reshape(image.shape)

    @abstractmethod
    def app(self, linop: Any, data: np.ndarray, largest: float) -> Any:
        """Return the app for an operator, its data, and the largest eigenvalue of A^H A."""


class SigpyTV(SigpySolver):
    """Total variation by the primal-dual method (Chambolle & Pock 2011), as sigpy's ``TotalVariationRecon``."""

    settings: "SigpyTVSettings"

    def app(self, linop: Any, data: np.ndarray, largest: float) -> Any:
        """Return the app."""
        from sigpy.app import LinearLeastSquares
        from sigpy.linop import FiniteDifference
        from sigpy.prox import L1Reg

        differences = FiniteDifference(linop.ishape)
        steepest = 4 * len(linop.ishape)  # the largest eigenvalue of G^H G
        return LinearLeastSquares(
            linop,
            data,
            proxg=L1Reg(differences.oshape, self.settings.regularisation),
            G=differences,
            tau=1 / (DUAL_STEP * (largest + steepest)),
            sigma=DUAL_STEP,
            max_iter=self.settings.iterations,
            show_pbar=False,
        )


class SigpyTVSettings(SolverSettings):
    """``argmin ½ ‖A x − y‖² + λ ‖G x‖₁`` with G the differences between neighbours, by sigpy."""

    solver = SigpyTV
    takes_sets = False

    kind: Literal["sigpy_tv"] = "sigpy_tv"
    regularisation: float = Field(3e-3, ge=0, description="λ, in scaled units")
    iterations: PositiveInt = Field(100, description="primal-dual steps")


class SigpyL1(SigpySolver):
    """L1-wavelet by FISTA on a grid that does not move, as sigpy's ``L1WaveletRecon``."""

    settings: "SigpyL1Settings"

    def app(self, linop: Any, data: np.ndarray, largest: float) -> Any:
        """Return the app."""
        from sigpy.app import LinearLeastSquares
        from sigpy.linop import Wavelet
        from sigpy.prox import L1Reg, UnitaryTransform

        wavelet = Wavelet(linop.ishape, wave_name=self.settings.wavelet)
        return LinearLeastSquares(
            linop,
            data,
            proxg=UnitaryTransform(L1Reg(wavelet.oshape, self.settings.regularisation), wavelet),
            alpha=1 / largest,
            max_iter=self.settings.iterations,
            show_pbar=False,
        )


class SigpyL1Settings(SolverSettings):
    """``argmin ½ ‖A x − y‖² + λ ‖W x‖₁`` with all levels that the image has room for, by sigpy."""

    solver = SigpyL1
    takes_sets = False

    kind: Literal["sigpy_l1"] = "sigpy_l1"
    regularisation: float = Field(3e-3, ge=0, description="λ, in scaled units")
    iterations: PositiveInt = Field(100, description="FISTA steps")
    wavelet: WaveletName = Field("db4", description="Daubechies family")
