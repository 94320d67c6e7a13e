"""The floor: how far real images are from the reference by every figure. No model can be expected below it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import DataError
from rsd_med.base.progress import watched
from rsd_med.base.randomness import generator_for
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.evaluation.reference import CleanReference
from rsd_med.metrics.distances import MINIMUM_IMAGES
from rsd_med.operators.channels import to_channels


def measure_floor(
    reference: CleanReference, training: Tensor | None, stacks: Sequence[Sequence[int]], num_samples: int
) -> dict[str, Any] | None:
    """Measure real images as if a model had drawn them.

    Parameters
    ----------
    reference
        What samples are compared with.
    training
        Clean images of other subjects, as many as there are samples, ``(N, channels, y, x)``; None where there are
        none. The reference is then split in two.
    stacks
        Numbers of the reference images that belong together, as the slices of a volume do: halves share none.
    num_samples
        How many samples are measured.

    Returns
    -------
    dict or None
        ``origin``: ``training`` or ``halves``; ``num_images`` and ``num_reference``; the figures of
        `CleanReference.figures`; and ``spectrum``, the ratios of `CleanReference.spectrum_ratio`. None where there
        are too few images for two halves.
    """
    origin, images, against = "training", training, reference
    if images is None:
        origin = "halves"
        some, others = halves(stacks, num_samples, generator_for(reference.seed, "floor"))
        if min(len(some), len(others)) < MINIMUM_IMAGES:
            return None
        images, rest = reference.images[some], reference.images[others]
        against = CleanReference(rest, reference.extractor, reference.seed, reference.device)
    return {
        "origin": origin,
        "num_images": len(images),
        "num_reference": len(against),
        **against.figures(images),
        "spectrum": list(against.spectrum_ratio(images)),
    }


def halves(stacks: Sequence[Sequence[int]], at_most: int, draws: Draws) -> tuple[list[int], list[int]]:
    """Split images in two: half of them, or ``at_most``, in the first part, the others in the second.

    The two share no stack, unless one stack holds more than a third of all images: then they are split one by one.
    """
    total = sum(len(stack) for stack in stacks)
    if max(len(stack) for stack in stacks) > total / 3:
        stacks = [[image] for stack in stacks for image in stack]
    wanted = min(at_most, total // 2)
    first: list[int] = []
    second: list[int] = []
    for number in torch.randperm(len(stacks), generator=draws).tolist():
        part = first if len(first) < wanted else second
        part += stacks[number]
    return first[:wanted], second


def clean_images(dataset: MeasurementDataset, indices: Sequence[int], count: int, seed: int) -> Tensor | None:
    """Read the clean images of some training items: for the floor, after all that is trained or chosen.

    Parameters
    ----------
    dataset, indices
        The training data, and which of them have the shape of the samples.
    count
        How many to read, chosen at random: files often hold one subject after the other.
    seed
        The run's.

    Returns
    -------
    Tensor or None
        ``(n, channels, y, x)`` in scaled units; None where the data are undersampled and have no clean images.
    """
    order = torch.randperm(len(indices), generator=generator_for(seed, "floor")).tolist()[:count]
    try:
        dataset.reference(indices[order[0]])
    except DataError:
        return None
    read = [dataset.reference(indices[place]) for place in watched(order, "reading clean images for the floor")]
    return to_channels(torch.stack(read))


def share_images(some: Tensor, others: Tensor) -> bool:
    """Say whether two sets have an image in common, to the last bit: they are then no two draws."""
    if some.shape[1:] != others.shape[1:]:
        return False
    names = [{image.cpu().numpy().tobytes() for image in images} for images in (some, others)]
    return not names[0].isdisjoint(names[1])
