"""The list of reconstruction methods."""

from typing import TYPE_CHECKING

from rsd_med.base.kinds import Kind, Kinds

if TYPE_CHECKING:
    from rsd_med.inverse.base import SolverSettings

SOLVERS: "Kinds[SolverSettings]" = Kinds(
    Kind("zero_filled", "rsd_med.inverse.zero_filled:ZeroFilledSettings", "Zero-filled"),
    Kind("cg_sense", "rsd_med.inverse.cg_sense:CGSenseSettings", "CG-SENSE"),
    Kind("l1_wavelet", "rsd_med.inverse.l1_wavelet:L1WaveletSettings", "L1 wavelet"),
    Kind("sigpy_l1", "rsd_med.inverse.sigpy_methods:SigpyL1Settings", "L1 wavelet by sigpy"),
    Kind("sigpy_tv", "rsd_med.inverse.sigpy_methods:SigpyTVSettings", "Total variation by sigpy"),
    Kind("reconstructor", "rsd_med.inverse.reconstructor:ReconstructorSettings", "Reconstructor, one call"),
    Kind("student_pnp", "rsd_med.inverse.student_pnp:StudentPnPSettings", "Student, plug and play"),
    Kind("student_latent", "rsd_med.inverse.student_latent:StudentLatentSettings", "Student, latent search"),
    Kind("one_step", "rsd_med.inverse.one_step:AmbientOneStepSettings", "Teacher, one step"),
    Kind("a_dps", "rsd_med.inverse.a_dps:ADPSSettings", "Teacher, A-DPS"),
)
