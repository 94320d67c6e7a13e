"""The lists of samplers and of networks."""

from typing import TYPE_CHECKING

from rsd_med.base.kinds import Kind, Kinds

if TYPE_CHECKING:
    from rsd_med.diffusion.backbones.base import BackboneSettings
    from rsd_med.diffusion.samplers.base import SamplerSettings

SAMPLERS: "Kinds[SamplerSettings]" = Kinds(
    Kind("heun", "rsd_med.diffusion.samplers.heun:HeunSettings"),
    Kind("truncated", "rsd_med.diffusion.samplers.truncated:TruncatedSettings"),
    Kind("stochastic", "rsd_med.diffusion.samplers.stochastic:StochasticSettings"),
    Kind("ancestral", "rsd_med.diffusion.samplers.ancestral:AncestralSettings"),
    Kind("guided", "rsd_med.diffusion.samplers.guided:GuidedSettings"),
    default="heun",
)
BACKBONES: "Kinds[BackboneSettings]" = Kinds(
    Kind("monai_unet", "rsd_med.diffusion.backbones.monai_unet:MonaiUNetSettings"),
    Kind("patch_unet", "rsd_med.diffusion.backbones.patch_unet:PatchUNetSettings"),
    Kind("ddpmpp", "rsd_med.diffusion.backbones.ddpmpp:DDPMPlusPlusSettings"),
)
