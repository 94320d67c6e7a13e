"""The list of teacher objectives."""

from typing import TYPE_CHECKING

from rsd_med.base.kinds import Kind, Kinds

if TYPE_CHECKING:
    from rsd_med.teachers.base import ObjectiveSettings

OBJECTIVES: "Kinds[ObjectiveSettings]" = Kinds(
    Kind("denoising", "rsd_med.teachers.denoising:DenoisingSettings"),
    Kind("ambient_tweedie", "rsd_med.teachers.ambient_tweedie:AmbientTweedieSettings"),
    Kind("ambient_masked", "rsd_med.teachers.ambient_masked:AmbientMaskedSettings"),
    Kind("ambient_fourier", "rsd_med.teachers.ambient_fourier:AmbientFourierSettings"),
    Kind("completed", "rsd_med.teachers.completed:CompletedSettings"),
    Kind("creative", "rsd_med.teachers.creative:CreativeSettings"),
)
