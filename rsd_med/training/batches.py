"""The order in which measurements are met: a function of (seed, count), so that there is no state to restore."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Measurement
from rsd_med.data.measurements import MeasurementDataset


class BatchOrder:
    """Endless shuffled batches of one shape each.

    Every epoch meets every item at least once; a group of one shape is filled up to whole batches with items from its
    own beginning.

    Parameters
    ----------
    groups
        Indices of the items, by shape.
    batch_size
        Items in each batch.
    seed
        The run's seed.
    purpose
        Which order; stages use different ones.
    """

    def __init__(
        self, groups: Mapping[tuple[int, ...], Sequence[int]], batch_size: int, seed: int, purpose: str
    ) -> None:
        self.groups = [list(group) for group in groups.values()]
        self.batch_size = batch_size
        self.seed = seed
        self.purpose = purpose
        self.batches_per_epoch = sum(-(-len(group) // batch_size) for group in self.groups)
        self._epochs: dict[int, list[list[int]]] = {}

    def __getitem__(self, number: int) -> list[int]:
        """Return the indices of batch ``number`` of the endless sequence."""
        epoch, position = divmod(number, self.batches_per_epoch)
        if epoch not in self._epochs:
            # The one before is kept: readers are a few batches apart.
            self._epochs = {epoch: self._draw_epoch(epoch)} | {
                known: batches for known, batches in self._epochs.items() if known == epoch - 1
            }
        return self._epochs[epoch][position]

    def _draw_epoch(self, epoch: int) -> list[list[int]]:
        generator = generator_for(self.seed, self.purpose, epoch)
        batches = []
        for group in self.groups:
            order = torch.randperm(len(group), generator=generator).tolist()
            whole = -(-len(group) // self.batch_size) * self.batch_size
            filled = [group[order[i % len(order)]] for i in range(whole)]
            batches += [filled[i : i + self.batch_size] for i in range(0, whole, self.batch_size)]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


class MeasurementPool:
    """Some items of a data set, read whenever they are asked for: memory holds those, however many there are.

    Parameters
    ----------
    dataset
        The measurements.
    indices
        Which of them, all of one shape.
    device
        Where what is asked for is put.
    """

    def __init__(self, dataset: MeasurementDataset, indices: Sequence[int], device: torch.device) -> None:
        self.dataset = dataset
        self.indices = indices
        self.device = device

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.indices)

    def __getitem__(self, index: slice | Tensor) -> Measurement:
        """Read items, selected by a slice or a 1-D tensor of numbers on any device.

        Raises
        ------
        DataError
            If an item is damaged.
        """
        numbers = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index]
        return load_batch(self.dataset, [self.indices[number] for number in numbers.tolist()], self.device)


def load_batch(dataset: MeasurementDataset, indices: Sequence[int], device: torch.device) -> Measurement:
    """Collect the measurements at ``indices``, all of one shape, on ``device``."""
    dataset.expect(indices)
    return Measurement.cat([dataset[i] for i in indices]).to(device)
