"""The methods of reconstruction, by name; a new one is one more line."""

from typing import Annotated

from pydantic import Field

from rsd_med.inverse.a_dps import ADPSSettings
from rsd_med.inverse.cg_sense import CGSenseSettings
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.inverse.one_step import OneStepSettings
from rsd_med.inverse.student_latent import StudentLatentSettings
from rsd_med.inverse.student_pnp import StudentPnPSettings
from rsd_med.inverse.zero_filled import ZeroFilledSettings

SolverSettings = (
    ZeroFilledSettings
    | CGSenseSettings
    | L1WaveletSettings
    | OneStepSettings
    | ADPSSettings
    | StudentLatentSettings
    | StudentPnPSettings
)
SolverKind = Annotated[SolverSettings, Field(discriminator="kind")]

METHODS: dict[str, type[SolverSettings]] = {
    "zero_filled": ZeroFilledSettings,
    "cg_sense": CGSenseSettings,
    "l1_wavelet": L1WaveletSettings,
    "one_step": OneStepSettings,
    "a_dps": ADPSSettings,
    "student_latent": StudentLatentSettings,
    "student_pnp": StudentPnPSettings,
}

WITHOUT_PRIOR = ("zero_filled", "cg_sense", "l1_wavelet")
WITH_STUDENT = ("student_latent", "student_pnp")
"""The others need a teacher."""
