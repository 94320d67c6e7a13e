"""Proximal distance: how far corrupted generations are from the measurements (methods §2.8). No clean data needed."""

import torch

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.engine.distribution import ALONE, Distribution
from rsd_med.engine.generation import BATCH
from rsd_med.metrics.features import FeatureExtractor
from rsd_med.metrics.frechet import frechet_distance
from rsd_med.metrics.views import magnitude_view
from rsd_med.operators.channels import to_complex


class ProximalMonitor:
    """Fréchet distance between corrupted generations and real measurements, both seen as images.

    Parameters
    ----------
    measurements
        The reference: real measurements of one shape.
    corruption
        Corrupts the generations afresh.
    extractor
        Features behind the distance.
    seed
        The run's seed.
    distribution
        Ranks share the extraction of features; the distance is the same on all of them.
    """

    def __init__(
        self,
        measurements: Measurement,
        corruption: Corruption,
        extractor: FeatureExtractor,
        seed: int,
        distribution: Distribution = ALONE,
    ) -> None:
        self.measurements = measurements
        self.corruption = corruption
        self.extractor = extractor
        self.seed = seed
        self.distribution = distribution
        self._reference = extractor(magnitude_view(measurements.image()))

    @torch.no_grad()
    def distance(self, images: torch.Tensor) -> float:
        """Return the proximal distance of generated images in channels, ``(n, channels, y, x)``."""
        device = self.measurements.data.device
        features = []
        for start in self.distribution.deal(range(0, len(images), BATCH)):
            generator = generator_for(self.seed, "proximal", start, device=device)
            batch = images[start : start + BATCH].to(device)
            chosen = torch.randint(len(self.measurements), (len(batch),), generator=generator, device=device)
            like = self.measurements[chosen]
            corrupted = corrupt_generation(self.corruption, batch, like, generator)
            features.append(self.extractor(magnitude_view(corrupted.image())))
        return frechet_distance(torch.cat(self.distribution.gather(features)), self._reference)


def corrupt_generation(
    corruption: Corruption, images: torch.Tensor, like: Measurement, generator: torch.Generator
) -> Measurement:
    """Corrupt generated images, given in channels ``(b, channels, y, x)``, as the scans of ``like`` were corrupted."""
    return corruption.corrupt(to_complex(images) if like.data.is_complex() else images, like, generator)
