"""Compare two sets of images: features in batches, then every distance, each with the name of its extractor."""

from typing import TypedDict

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.metrics.features import FeatureExtractor
from rsd_med.metrics.frechet import frechet_distance
from rsd_med.metrics.kernel import kernel_distance

# All pairs of this many images are a kernel matrix of 200 MB in float64; larger sets are averaged over subsets.
ALL_PAIRS_LIMIT = 5000
SUBSETS = 20
SUBSET_SIZE = 1000


class Distances(TypedDict):
    """The distances between two sets, with what they were measured by."""

    fd: float
    kid: float
    num_samples: int
    num_reference: int
    features: str


def extract(view: Tensor, extractor: FeatureExtractor, batch_size: int = 256) -> Tensor:
    """Compute features batch by batch.

    Parameters
    ----------
    view
        Float32 ``(N, C, H, W)`` as returned by `rsd_med.metrics.views.magnitude_view`.
    extractor
        What to look with.
    batch_size
        Images per call of the extractor.

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
        msg = "there are no images to compare; generate or supply some"
        raise DataError(msg)
    return torch.cat([extractor(batch) for batch in view.split(batch_size)])


def compare_features(samples: Tensor, reference: Tensor, name: str, generator: torch.Generator) -> Distances:
    """Return the distances between two sets of features of the extractor called ``name``.

    Parameters
    ----------
    samples, reference
        Float64 ``(N, D)`` and ``(M, D)``.
    name
        The extractor's name, which is reported.
    generator
        A CPU generator: sets of more than 5000 images are compared by KID over 20 random subsets of 1000.

    Returns
    -------
    Distances
        ``fd``, ``kid``, ``num_samples`` (N), ``num_reference`` (M), ``features``.

    Raises
    ------
    DataError
        If a set has fewer than two rows, or the dimensions differ.
    """
    subsets = SUBSETS if max(len(samples), len(reference)) > ALL_PAIRS_LIMIT else None
    return Distances(
        fd=frechet_distance(samples, reference),
        kid=kernel_distance(samples, reference, subsets=subsets, subset_size=SUBSET_SIZE, generator=generator),
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
) -> Distances:
    """Return the distances between samples and a reference set, as one extractor sees them.

    Both sets must have the same size in pixels: a distance across sizes measures the resampling.

    Parameters
    ----------
    samples_view, reference_view
        Float32 ``(N, C, H, W)`` and ``(M, C, H, W)`` from `rsd_med.metrics.views.magnitude_view`.
    extractor
        What to look with; its name is reported.
    generator
        A CPU generator for KID's subsets, used only for sets of more than 5000 images.
    batch_size
        Images per call of the extractor.

    Returns
    -------
    Distances
        ``fd``, ``kid``, ``num_samples``, ``num_reference``, ``features``.

    Raises
    ------
    DataError
        If the two sets differ in shape, are too small, or contain NaN.
    """
    if samples_view.shape[1:] != reference_view.shape[1:]:
        msg = (
            f"samples of shape {tuple(samples_view.shape[1:])} and reference images of shape "
            f"{tuple(reference_view.shape[1:])} cannot be compared; crop or resample both alike"
        )
        raise DataError(msg)
    samples = extract(samples_view, extractor, batch_size)
    reference = extract(reference_view, extractor, batch_size)
    return compare_features(samples, reference, extractor.name, generator)
