"""The audit of memorisation at the end of a run: samples and unseen images against the whole training set."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.evaluation.generation import BATCH
from rsd_med.evaluation.monitor import corrupt_generation
from rsd_med.metrics.memorisation import NEIGHBOURS, Memorisation, audit
from rsd_med.metrics.nearest_measurements import Measurements, Nearest, nearest_measurements
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.linear import Identity

SHOWN = 8
"""Pairs that are kept as pictures."""


@dataclass(frozen=True)
class AuditResult:
    """Figures of the search for copies, the images it was compared with, and the nearest pairs as pictures.

    Attributes
    ----------
    figures
        See `rsd_med.metrics.memorisation.Memorisation`.
    baseline
        ``clean`` (held-out clean images), ``clean, each without its own measurement`` where the clean images are those
        of the training set, or ``measurements, each without itself`` where there are no clean images.
    pictures
        In channels, ``(n, channels, y, x)`` with n at most 8. ``samples``: generated images. ``measurements``: the
        nearest measurement of each. ``seen``: each sample after the operator of that measurement.
    """

    figures: Memorisation
    baseline: str
    pictures: dict[str, Tensor]


class SeenAsImages:
    """Measurements with nothing but their image: for comparing measurements with measurements.

    Parameters
    ----------
    dataset
        The training measurements.
    """

    def __init__(self, dataset: Measurements) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int, /) -> Measurement:
        """Return the image of a measurement, measured by the identity."""
        measurement = self.dataset[index]
        return replace(measurement, data=measurement.image(), operator=Identity())

    def expect(self, indices: Sequence[int], /) -> None:
        """Pass on which items are read next."""
        self.dataset.expect(indices)


def audit_memorisation(
    images: Tensor,
    reference: Tensor | None,
    dataset: Measurements,
    indices: Sequence[int],
    corruption: Corruption,
    seed: int,
    *,
    reference_is_training: bool = False,
) -> AuditResult | None:
    """Compare samples with the training set as closely as unseen images are compared with it.

    With clean images, samples and they are seen through the operator of each measurement. Without, nothing unseen and
    clean exists: samples are corrupted as the data were, and compared as images with the measurements; each
    measurement stands for an unseen one by leaving itself out. That is less sensitive: what a sample's own corruption
    hides cannot betray it.

    Parameters
    ----------
    images
        Samples in channels, ``(n, channels, y, x)``, scaled units.
    reference
        Clean images alike, or None.
    dataset, indices
        The training measurements, and which of them have the shape of the samples.
    corruption
        What happened to them.
    seed
        The run's.
    reference_is_training
        True if reference image i is measurement ``indices[i]`` before its corruption.

    Returns
    -------
    AuditResult
        Or None where fewer than three measurements leave nothing to compare.
    """
    neighbours = min(NEIGHBOURS, len(indices) - 1)
    if neighbours < 2:
        return None
    generator = generator_for(seed, "memorisation")
    searched: Measurements = dataset
    if reference is not None:
        order = torch.randperm(len(reference), generator=generator)[: len(images)]
        queries, unseen = images, reference[order]
        own = torch.tensor(indices)[order] if reference_is_training else None
        baseline = "clean, each without its own measurement" if reference_is_training else "clean"
    else:
        searched = SeenAsImages(dataset)
        queries = _corrupted(images, dataset, indices, corruption, generator)
        own = torch.tensor(indices)[torch.randperm(len(indices), generator=generator)[: len(images)]]
        unseen = torch.cat([to_channels(searched[index].data) for index in own.tolist()])
        baseline = "measurements, each without itself"
    both = torch.cat((queries, unseen))
    exclude = None if own is None else torch.cat((torch.full((len(queries),), -1), own))
    nearest = nearest_measurements(both, searched, indices, neighbours, exclude)
    samples, held_out = (Nearest(*(part.split([len(queries), len(unseen)])[i] for part in nearest)) for i in (0, 1))
    figures = audit(samples, held_out)
    return AuditResult(figures, baseline, _pictures(images, queries, searched, figures))


def _corrupted(
    images: Tensor, dataset: Measurements, indices: Sequence[int], corruption: Corruption, generator: Draws
) -> Tensor:
    """Return the samples as measurements are seen, each under the conditions of one."""
    measured = []
    for batch in images.split(BATCH):
        places = torch.randint(len(indices), (len(batch),), generator=generator).tolist()
        like = Measurement.cat([dataset[indices[number]] for number in places])
        measured.append(to_channels(corrupt_generation(corruption, batch, like, generator).image()))
    return torch.cat(measured)


def _pictures(images: Tensor, queries: Tensor, searched: Measurements, figures: Memorisation) -> dict[str, Tensor]:
    pictures: dict[str, list[Tensor]] = {"samples": [], "seen": [], "measurements": []}
    for pair in figures["pairs"][:SHOWN]:
        item = searched[pair["measurement"]]
        query = queries[pair["sample"]][None]
        measured = replace(item, data=item.operator(to_complex(query) if item.data.is_complex() else query))
        pictures["samples"].append(images[pair["sample"]][None])
        pictures["seen"].append(to_channels(measured.image()))
        pictures["measurements"].append(to_channels(item.image()))
    return {name: torch.cat(parts) for name, parts in pictures.items()}
