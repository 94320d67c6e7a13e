"""Compare two sets of images: features in batches, then every distance, each with the name of its extractor."""

from typing import Final, TypedDict

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.progress import watched
from rsd_med.metrics.density_coverage import density_coverage
from rsd_med.metrics.features import FeatureExtractor
from rsd_med.metrics.frechet import frechet_distance
from rsd_med.metrics.kernel import kernel_distance
from rsd_med.metrics.precision_recall import precision_recall

# All pairs of this many images are a kernel matrix of 200 MB in float64. For larger sets, the kernel distance is
# averaged over subsets, and neighbours are sought in one subset of this size.
ALL_PAIRS_LIMIT = 5000
SUBSETS = 20
SUBSET_SIZE = 1000

MINIMUM_IMAGES = 6
"""Fewer images per set have no fifth neighbour."""


FIGURES: Final = ("fd", "kid", "precision", "recall", "density", "coverage")
"""What is said of two sets of images, in this order everywhere."""


class Distances(TypedDict):
    """How two sets of images compare, with what it was measured by."""

    fd: float
    kid: float
    precision: float
    recall: float
    density: float
    coverage: float
    num_samples: int
    num_reference: int
    features: str


def extract(
    view: Tensor, extractor: FeatureExtractor, batch_size: int = 256, device: torch.device | str | None = None
) -> Tensor:
    """Compute features batch by batch.

    Parameters
    ----------
    view
        Float32 ``(N, channels, y, x)`` as returned by `rsd_med.metrics.views.magnitude_view`.
    extractor
        What to look with.
    batch_size
        Images per call of the extractor.
    device
        Where each batch is looked at; None: where the images lie.

    Returns
    -------
    Tensor
        Float64 ``(N, D)`` on the CPU.

    Raises
    ------
    DataError
        If there are no images, or they cannot be looked at.
    """
    if len(view) == 0:
        raise DataError("there are no images to compare; generate or supply some")
    batches = watched(view.split(batch_size), f"computing features, {batch_size} at a time")
    return torch.cat([extractor(batch.to(device or view.device)) for batch in batches])


def compare_features(samples: Tensor, reference: Tensor, name: str, generator: torch.Generator) -> Distances:
    """Return the distances between two sets of features of the extractor called ``name``.

    Parameters
    ----------
    samples, reference
        Float64 ``(N, D)`` and ``(M, D)``.
    name
        The extractor's name, which is reported.
    generator
        A CPU generator: sets of more than 5000 images are compared by KID over 20 random subsets of 1000, by
        neighbours in one random subset of 5000.

    Returns
    -------
    Distances
        ``fd``, ``kid``, ``precision``, ``recall``, ``density``, ``coverage``, ``num_samples`` (N), ``num_reference``
        (M), ``features``.

    Raises
    ------
    DataError
        If a set has fewer than `MINIMUM_IMAGES` rows, or the dimensions differ.
    """
    subsets = SUBSETS if max(len(samples), len(reference)) > ALL_PAIRS_LIMIT else None
    fd = frechet_distance(samples, reference)
    kid = kernel_distance(samples, reference, subsets=subsets, subset_size=SUBSET_SIZE, generator=generator)
    some, real = (_at_most(ALL_PAIRS_LIMIT, features, generator) for features in (samples, reference))
    precision, recall = precision_recall(some, real)
    density, coverage = density_coverage(some, real)
    return Distances(
        fd=fd,
        kid=kid,
        precision=precision,
        recall=recall,
        density=density,
        coverage=coverage,
        num_samples=len(samples),
        num_reference=len(reference),
        features=name,
    )


def compare(
    samples_view: Tensor,
    reference_view: Tensor,
    extractor: FeatureExtractor,
    generator: torch.Generator,
    batch_size: int = 256,
    device: torch.device | str | None = None,
) -> Distances:
    """Return the distances between samples and a reference set, as one extractor sees them.

    Both sets must have the same size in pixels: a distance across sizes measures the resampling.

    Parameters
    ----------
    samples_view, reference_view
        Float32 ``(N, channels, y, x)`` and ``(M, channels, y, x)`` from `rsd_med.metrics.views.magnitude_view`.
    extractor
        What to look with; its name is reported.
    generator
        A CPU generator for subsets, used only for sets of more than 5000 images.
    batch_size
        Images per call of the extractor.
    device
        Where each batch is looked at; None: where the images lie.

    Returns
    -------
    Distances
        As of `compare_features`.

    Raises
    ------
    DataError
        If the two sets differ in shape, are too small, or contain NaN.
    """
    if samples_view.shape[1:] != reference_view.shape[1:]:
        raise DataError(
            f"samples of shape {tuple(samples_view.shape[1:])} and reference images of shape "
            f"{tuple(reference_view.shape[1:])} cannot be compared; crop or resample both alike"
        )
    samples, reference = (extract(view, extractor, batch_size, device) for view in (samples_view, reference_view))
    return compare_features(samples, reference, extractor.name, generator)


def _at_most(count: int, features: Tensor, generator: torch.Generator) -> Tensor:
    if len(features) <= count:
        return features
    return features[torch.randperm(len(features), generator=generator)[:count]]
