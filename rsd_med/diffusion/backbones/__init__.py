"""Networks behind the preconditioning: tensor and noise label in, tensor out."""

from rsd_med.diffusion.backbones.base import count_parameters
from rsd_med.diffusion.backbones.monai_unet import MonaiUNet, MonaiUNetSettings

__all__ = ["MonaiUNet", "MonaiUNetSettings", "count_parameters"]
