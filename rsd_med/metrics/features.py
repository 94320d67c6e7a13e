"""What a feature extractor is, and the kinds a protocol may ask for."""

from typing import Annotated, Protocol

from pydantic import Field
from torch import Tensor

from rsd_med.metrics.inception import InceptionFeatures, InceptionSettings
from rsd_med.metrics.pca import PCAFeatures, PCASettings
from rsd_med.metrics.random_conv import RandomConvFeatures, RandomConvSettings

__all__ = [
    "FeatureExtractor",
    "FeatureSettings",
    "InceptionFeatures",
    "InceptionSettings",
    "PCAFeatures",
    "PCASettings",
    "RandomConvFeatures",
    "RandomConvSettings",
]


class FeatureExtractor(Protocol):
    """Images to features: ``(N, C, H, W)`` float32 to ``(N, dimension)`` float64 on the CPU.

    Units of the images: [-1, 1] for natural images, ``2 |x| - 1`` for complex MR images (`magnitude_view`). The name
    carries the version and what it was fitted on, so that equal names mean comparable numbers.
    """

    @property
    def name(self) -> str:
        """Family, version and dimension, for example ``random-conv-v1-96``."""

    @property
    def dimension(self) -> int:
        """The number of features per image."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return float64 ``(N, dimension)`` for float32 ``(N, C, H, W)``."""


FeatureSettings = Annotated[RandomConvSettings | InceptionSettings | PCASettings, Field(discriminator="kind")]
