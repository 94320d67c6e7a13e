"""The list of corruptions."""

from typing import TYPE_CHECKING

from rsd_med.base.kinds import Kind, Kinds

if TYPE_CHECKING:
    from rsd_med.corruptions.base import CorruptionSettings

CORRUPTIONS: "Kinds[CorruptionSettings]" = Kinds(
    Kind("multicoil_fourier", "rsd_med.corruptions.multicoil_fourier:MultiCoilFourierSettings"),
    Kind("fourier", "rsd_med.corruptions.fourier:FourierSettings"),
    Kind("noise", "rsd_med.corruptions.noise:NoiseSettings"),
    Kind("none", "rsd_med.corruptions.none:NoCorruptionSettings"),
    Kind("blur", "rsd_med.corruptions.blur:BlurSettings"),
    Kind("motion_blur", "rsd_med.corruptions.motion_blur:MotionBlurSettings"),
    Kind("super_resolution", "rsd_med.corruptions.super_resolution:SuperResolutionSettings"),
    Kind("inpainting", "rsd_med.corruptions.inpainting:InpaintingSettings"),
    Kind("sparse_view", "rsd_med.corruptions.tomography:SparseViewSettings"),
    Kind("poisson", "rsd_med.corruptions.poisson:PoissonSettings"),
    Kind("rician", "rsd_med.corruptions.rician:RicianSettings"),
    Kind("kspace_motion", "rsd_med.corruptions.kspace_motion:KSpaceMotionSettings"),
)
