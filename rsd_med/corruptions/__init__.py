"""What could have happened to an image: distributions over operators and noise, and the measurements they give."""

from rsd_med.corruptions.base import Corruption, ImageCorruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.corruptions.multicoil_fourier import MultiCoilFourierSettings, MultiCoilUndersampling
from rsd_med.corruptions.noise import GaussianNoise, NoiseSettings
from rsd_med.corruptions.none import NoCorruption, NoCorruptionSettings

__all__ = [
    "Corruption",
    "GaussianNoise",
    "ImageCorruption",
    "Measurement",
    "MultiCoilFourierSettings",
    "MultiCoilUndersampling",
    "NoCorruption",
    "NoCorruptionSettings",
    "NoiseSettings",
]
