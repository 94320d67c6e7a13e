"""Networks behind the preconditioning: tensor and noise label in, tensor out."""

from rsd_med.diffusion.backbones.base import (
    AUGMENTATION_LABELS,
    BackboneSettings,
    Encoder,
    LearningNetwork,
    count_parameters,
)
from rsd_med.diffusion.backbones.ddpmpp import DDPMPlusPlus, DDPMPlusPlusSettings
from rsd_med.diffusion.backbones.monai_unet import MonaiUNet, MonaiUNetSettings
from rsd_med.diffusion.backbones.patch_unet import PatchUNet, PatchUNetSettings

__all__ = [
    "AUGMENTATION_LABELS",
    "BackboneSettings",
    "DDPMPlusPlus",
    "DDPMPlusPlusSettings",
    "Encoder",
    "LearningNetwork",
    "MonaiUNet",
    "MonaiUNetSettings",
    "PatchUNet",
    "PatchUNetSettings",
    "count_parameters",
]
