"""Which training measurements an image explains best: a search through the whole training set.

Training images are never seen clean, so an image x is held against measurement i in the measured domain, through that
measurement's own operator and on what was acquired alone: ``|A_i x - y_i| / |y_i|``. Between the two,

    |A_i x - y_i|^2 = |A_i x|^2 - 2 Re <x, A_i^H y_i> + |y_i|^2,

where the last two terms cost one matrix product for all pairs, and so does the first for pixel masks; with one operator
for all it is that of any item. Only coil maps and masks of k-space differ from scan to scan in a way that costs more:
there, scans that are read together share it. The search ranks all measurements by that, and measures a short list
exactly: the ranking errs only where masks of k-space differ much, and never about a copy.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.progress import watched
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.sampling import SamplingMask

SHORTLIST = 32
"""Measurements of each image that are measured exactly."""

ITEMS_AT_ONCE = 128
PAIRS_AT_ONCE = 256


class Measurements(Protocol):
    """What is searched: a `rsd_med.data.measurements.MeasurementDataset`, or anything read like it."""

    def __getitem__(self, index: int, /) -> Measurement:
        """Return one measurement, a batch of one."""

    def expect(self, indices: Sequence[int], /) -> None:
        """Hear which items are read next."""


class Nearest(NamedTuple):
    """The nearest measurements of each image, nearest first.

    Attributes
    ----------
    indices
        Int64 ``(N, k)``: their numbers in the data set.
    distances
        Float64 ``(N, k)``, relative: 0 is explained to the last digit, about 1 has nothing in common.
    """

    indices: Tensor
    distances: Tensor


@torch.no_grad()
def nearest_measurements(
    images: Tensor,
    dataset: Measurements,
    indices: Sequence[int],
    neighbours: int = 1,
    exclude: Tensor | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Nearest:
    """Find the training measurements that each image explains best.

    Memory is bounded by a few hundred items whatever the size of the data set, which is read twice, in order.

    Parameters
    ----------
    images
        In channels, float32 ``(N, channels, y, x)``, scaled units, on the CPU: as samples are drawn.
    dataset
        The training measurements.
    indices
        Which of them to search: all those of one shape, that of the images (`Experiment.main_group`).
    neighbours
        How many to return, at most `SHORTLIST` and at most as many as there are.
    exclude
        Int64 ``(N,)``: a number in the data set that is no candidate for that image, -1 for none. The held-out
        baseline leaves each item out of its own search in this way.
    progress
        Told the share that is done, from 0 to 1.

    Returns
    -------
    Nearest
        Indices and relative distances ``(N, neighbours)``.

    Raises
    ------
    DataError
        If there are too few measurements, or the images do not fit them.
    """
    candidates = len(indices) - (exclude is not None)
    if not 1 <= neighbours <= min(SHORTLIST, candidates):
        raise DataError(
            f"{neighbours} nearest of {candidates} training measurements cannot be found; at most {SHORTLIST} can"
        )
    listed = _shortlist(images, dataset, indices, min(SHORTLIST, candidates), exclude, lambda p: progress(p / 2))
    distances = _measure(images, dataset, listed, lambda p: progress(0.5 + p / 2))
    nearest = distances.topk(neighbours, dim=1, largest=False)
    return Nearest(listed.gather(1, nearest.indices), nearest.values)


def _shortlist(
    images: Tensor,
    dataset: Measurements,
    indices: Sequence[int],
    count: int,
    exclude: Tensor | None,
    progress: Callable[[float], None],
) -> Tensor:
    """Return the ``count`` most promising items of each image, ``(N, count)``."""
    flat = images.flatten(1)
    best = torch.full((len(images), count), torch.inf)
    listed = torch.full((len(images), count), -1)
    for done, numbers, items in _chunks(dataset, indices):
        adjoint = to_channels(items.operator.H(items.data)).flatten(1)
        size = _size(items).square()
        expected = (_energy(images, items) - 2 * flat @ adjoint.T + size) / size
        if exclude is not None:
            expected[numbers[None] == exclude[:, None]] = torch.inf
        best, places = torch.cat((best, expected), 1).topk(count, dim=1, largest=False)
        listed = torch.cat((listed, numbers.expand(len(images), -1)), 1).gather(1, places)
        progress(done)
    return listed


def _energy(images: Tensor, items: Measurement) -> Tensor:
    """Return |A_i x|^2 of all pairs, exact for pixel masks; for others that of the first item stands for all."""
    if isinstance(items.operator, SamplingMask):
        mask = items.operator.mask.expand(len(items), *items.data.shape[1:])
        # A complex pixel is two channels here.
        weights = torch.cat((mask, mask), 1) if items.data.is_complex() else mask
        return images.square().flatten(1) @ weights.to(images.dtype).flatten(1).T
    return _seen(images, items, torch.zeros(len(images), dtype=torch.int64)).abs().square().sum(1, keepdim=True)


def _measure(images: Tensor, dataset: Measurements, listed: Tensor, progress: Callable[[float], None]) -> Tensor:
    """Return the exact relative distances to the listed items, float64 of their shape."""
    distances = torch.empty(listed.shape, dtype=torch.float64)
    for done, numbers, items in _chunks(dataset, listed.unique().tolist()):
        rows, columns = torch.isin(listed, numbers).nonzero(as_tuple=True)
        places = torch.searchsorted(numbers, listed[rows, columns])
        for pairs in torch.arange(len(rows)).split(PAIRS_AT_ONCE):
            item = places[pairs]
            gap = _seen(images[rows[pairs]], items, item) - items.data[item].flatten(1)
            distances[rows[pairs], columns[pairs]] = gap.abs().double().square().sum(1).sqrt() / _size(items)[item]
        progress(done)
    return distances


def _chunks(dataset: Measurements, indices: Sequence[int]) -> Iterator[tuple[float, Tensor, Measurement]]:
    """Read items in batches: the share that is read with them, their numbers, and they."""
    for start in watched(range(0, len(indices), ITEMS_AT_ONCE), f"searching for copies, {ITEMS_AT_ONCE} at a time"):
        chunk = indices[start : start + ITEMS_AT_ONCE]
        dataset.expect(chunk)
        done = (start + len(chunk)) / len(indices)
        yield done, torch.tensor(chunk), Measurement.cat([dataset[index] for index in chunk])


def _seen(images: Tensor, items: Measurement, places: Tensor) -> Tensor:
    """Return ``A_i x`` flattened, image n through the operator of item ``places[n]``."""
    try:
        measured: Tensor = items.operator[places](to_complex(images) if items.data.is_complex() else images)
    except (ValueError, RuntimeError) as error:
        shape = tuple(images.shape[1:])
        raise DataError(f"images of shape {shape} do not fit the training measurements: {error}") from error
    if measured.shape[1:] != items.data.shape[1:]:
        raise DataError(
            f"images of shape {tuple(images.shape[1:])} are measured as {tuple(measured.shape[1:])}, and the training "
            f"measurements are {tuple(items.data.shape[1:])}; compare with those of one shape"
        )
    return measured.flatten(1)


def _size(items: Measurement) -> Tensor:
    """Return ``|y_i|``; an item of zeros is far from everything."""
    return items.data.abs().square().flatten(1).sum(1).sqrt().clamp_min(1e-12)
