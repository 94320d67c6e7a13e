"""Clean images, for evaluation alone, and all that is said of samples against them."""

from functools import cached_property

import torch
from torch import Tensor

from rsd_med.base.randomness import generator_for
from rsd_med.metrics.air import Air, find_air
from rsd_med.metrics.distances import FIGURES, compare_features, extract
from rsd_med.metrics.features import FeatureExtractor
from rsd_med.metrics.spectrum import Spectrum, radial_spectrum, worst_ratio
from rsd_med.metrics.views import magnitude_view
from rsd_med.runs.distribution import Distribution

AT_ONCE = 256
"""Images whose features one rank computes before the next takes its turn."""


class CleanReference:
    """A set of clean images that samples are compared with. What is known of it is computed once, when first needed.

    Parameters
    ----------
    images
        In channels, ``(M, channels, y, x)``, scaled units.
    extractor
        Features behind the distances.
    seed
        The run's.
    device
        Where features are computed.
    """

    def __init__(self, images: Tensor, extractor: FeatureExtractor, seed: int, device: torch.device) -> None:
        self.images = images
        self.extractor = extractor
        self.seed = seed
        self.device = device

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @cached_property
    def air(self) -> Air | None:
        """Where the images show air; None where they have none in one place."""
        return find_air(self.images)

    @cached_property
    def spectrum(self) -> Spectrum:
        """The power spectrum of the images."""
        return radial_spectrum(self.images)

    @cached_property
    def features(self) -> Tensor:
        """Their features, float64 ``(M, D)``."""
        return self._extract(self.images)

    def dealt_features(self, images: Tensor, distribution: Distribution) -> Tensor:
        """Return the features of images, float64 ``(N, D)``, on all ranks.

        Each computes its share of them, and of the reference's when they are first needed.

        Parameters
        ----------
        images
            The same on every rank, ``(N, channels, y, x)``.
        distribution
            All ranks of the run; every one of them has to ask.
        """
        if "features" not in vars(self):
            vars(self)["features"] = self._deal(self.images, distribution)
        return self._deal(images, distribution)

    def figures(self, images: Tensor, features: Tensor | None = None) -> dict[str, float]:
        """Return all figures of a set of images against the reference.

        Parameters
        ----------
        images
            In channels, ``(N, channels, y, x)``, of the reference's size.
        features
            Those of the images, where `dealt_features` has computed them.

        Returns
        -------
        dict[str, float]
            `FIGURES`; ``spectrum_deviation``, the largest departure of the ratio of powers from 1 up to 0.9 of
            Nyquist; and ``air``, the brightness of the air as a share of the peak, where the reference has air.

        Raises
        ------
        DataError
            If there are too few images, or they contain NaN.
        """
        generator = generator_for(self.seed, "distances")
        looked_at = self._extract(images) if features is None else features
        compared = compare_features(looked_at, self.features, self.extractor.name, generator)
        _, ratio = worst_ratio(self.spectrum.frequencies, self.spectrum_ratio(images))
        figures = {name: compared[name] for name in FIGURES} | {"spectrum_deviation": abs(ratio - 1)}
        return figures if self.air is None else figures | {"air": self.air.level(images)}

    def spectrum_ratio(self, images: Tensor) -> tuple[float, ...]:
        """Return the power of images as a multiple of the reference's, at the frequencies of its spectrum."""
        return radial_spectrum(images).over(self.spectrum)

    def _deal(self, images: Tensor, distribution: Distribution) -> Tensor:
        with distribution.together():
            own = [self._extract(batch) for batch in distribution.deal(images.split(AT_ONCE))]
        return torch.cat(distribution.gather(own))

    def _extract(self, images: Tensor) -> Tensor:
        return extract(magnitude_view(images), self.extractor, device=self.device)
