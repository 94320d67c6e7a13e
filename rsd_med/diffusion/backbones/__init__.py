"""Networks behind the preconditioning: tensor and noise label in, tensor out."""

from typing import Annotated

from pydantic import Field

from rsd_med.diffusion.backbones.base import AUGMENTATION_LABELS, LearningNetwork, count_parameters
from rsd_med.diffusion.backbones.ddpmpp import DDPMPlusPlus, DDPMPlusPlusSettings
from rsd_med.diffusion.backbones.monai_unet import MonaiUNet, MonaiUNetSettings

BackboneKind = Annotated[MonaiUNetSettings | DDPMPlusPlusSettings, Field(discriminator="kind")]

__all__ = [
    "AUGMENTATION_LABELS",
    "BackboneKind",
    "DDPMPlusPlus",
    "DDPMPlusPlusSettings",
    "LearningNetwork",
    "MonaiUNet",
    "MonaiUNetSettings",
    "count_parameters",
]
