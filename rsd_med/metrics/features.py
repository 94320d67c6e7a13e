"""What a feature extractor is."""

from abc import abstractmethod
from pathlib import Path
from typing import Protocol

from torch import Tensor

from rsd_med.base.settings import KindSettings


class FeatureExtractor(Protocol):
    """Images to features: ``(N, channels, y, x)`` float32 to ``(N, dimension)`` float64 on the CPU.

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
        """Return float64 ``(N, dimension)`` for float32 ``(N, channels, y, x)``."""


class FeatureSettings(KindSettings):
    """The features behind Fréchet and kernel distances."""

    @abstractmethod
    def build(self, reference: Tensor | None = None, base_dir: Path | None = None) -> FeatureExtractor:
        """Build the extractor.

        Parameters
        ----------
        reference
            The clean images that an extractor may be fitted to, float32 ``(N, channels, y, x)`` as returned by
            `magnitude_view`; None where there are none.
        base_dir
            Folder that a relative path starts from; None: the working directory.

        Raises
        ------
        DataError
            If a file or images are missing that the extractor needs.
        """
