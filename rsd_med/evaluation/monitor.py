"""Proximal distance: how far corrupted generations are from the measurements (arXiv 2503.07578)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.progress import watched
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Conditions, Measurement
from rsd_med.evaluation.generation import BATCH
from rsd_med.metrics.features import FeatureExtractor
from rsd_med.metrics.frechet import frechet_distance
from rsd_med.metrics.views import magnitude_view
from rsd_med.operators.channels import to_complex
from rsd_med.runs.distribution import ALONE, Distribution

DIVERSITY_IMAGES = 128
"""Generations behind a diversity: a variance of features is then known to about 5 %."""

VISIBLE = 0.2
"""Share of the measurements' spread that must be the images' own, and not the corruption's, to speak of diversity."""


class ProximalMonitor:
    """Fréchet distance between corrupted generations and real measurements, both seen as images.

    Parameters
    ----------
    measurements
        The reference: real measurements of one shape, looked at 64 at a time.
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
        measurements: Conditions,
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
        starts = distribution.deal(range(0, len(measurements), BATCH))
        reading = watched(starts, f"reading measurements for the proximal distance, {BATCH} at a time")
        self._reference = self._gathered(measurements[start : start + BATCH] for start in reading)

    @torch.no_grad()
    def distance(self, images: Tensor) -> float:
        """Return the proximal distance of generated images in channels, ``(n, channels, y, x)``."""
        return frechet_distance(self._features(images, "proximal"), self._reference)

    @torch.no_grad()
    def diversity(self, images: Tensor) -> float | None:
        """Return how much generated images differ from one another, relative to the images that were measured.

        ``(T − W) / (T_data − W)``, in features of corrupted images: T is twice the trace of their covariance, of which
        the corruption alone makes W, the mean squared distance between two corruptions of one image. 1 is as much as
        the data, 0 is one image over and over, however noisy.

        Parameters
        ----------
        images
            In channels, ``(n, channels, y, x)``; the first 128 are looked at.

        Returns
        -------
        float | None
            The diversity; None where the corruption hides it: where less than a fifth of T_data is left without W, or
            with fewer than two images.
        """
        images = images[:DIVERSITY_IMAGES]
        if len(images) < 2:
            return None
        one, other = (self._features(images, purpose) for purpose in ("diversity/one", "diversity/other"))
        total = float((one.var(0) + other.var(0)).sum())
        corruption = float((one - other).square().sum(1).mean())
        data = 2 * float(self._reference.var(0).sum())
        if not data - corruption > VISIBLE * data:
            return None
        return max(0.0, total - corruption) / (data - corruption)

    def _features(self, images: Tensor, purpose: str) -> Tensor:
        """Return the features of freshly corrupted images, ``(n, dimension)``, the same on every rank."""
        starts = self.distribution.deal(range(0, len(images), BATCH))
        comparing = watched(starts, f"comparing with measurements, {BATCH} at a time")
        return self._gathered(self._corrupted(images[start : start + BATCH], purpose, start) for start in comparing)

    def _corrupted(self, images: Tensor, purpose: str, start: int) -> Measurement:
        device = self.measurements.device
        generator = generator_for(self.seed, purpose, start, device=device)
        index = generator.integers(len(self.measurements), len(images))
        return corrupt_generation(self.corruption, images.to(device), self.measurements[index], generator)

    def _gathered(self, batches: Iterable[Measurement]) -> Tensor:
        """Return the features of this rank's batches and of those of all others, in their order."""
        features = [self.extractor(magnitude_view(batch.image())) for batch in batches]
        return torch.cat(self.distribution.gather(features))


def corrupt_generation(corruption: Corruption, images: Tensor, like: Measurement, generator: Draws) -> Measurement:
    """Corrupt generated images, given in channels ``(b, channels, y, x)``, as the scans of ``like`` were corrupted."""
    return corruption.corrupt(to_complex(images) if like.data.is_complex() else images, like, generator)
