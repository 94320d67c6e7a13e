"""Batches one after the other, read by this process or ahead of it by others: the same ones in the same order."""

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from rsd_med.base.errors import InterruptedRunError, RsdMedError
from rsd_med.corruptions.measurement import Measurement
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.training.batches import BatchOrder, load_batch
from rsd_med.training.sending import has_own_memory, sent
from rsd_med.training.signals import StopRequest

AHEAD = 2
"""Batches that each reader keeps ready."""

MOST_READERS = 8
"""A prepared slice takes 3 ms of a core, so that more are of use in the first epoch alone."""

Share = Callable[[Sequence[int]], Sequence[int]]


def read_batches(
    dataset: MeasurementDataset, order: BatchOrder, share: Share, numbers: range, device: torch.device, workers: int = 0
) -> Iterator[Measurement]:
    """Yield batches.

    What an item becomes depends on the run's seed and the item's id alone, and the order on the batch's number: neither
    the number of readers nor where reading begins changes a bit.

    Parameters
    ----------
    dataset, order
        The items and their order.
    share
        From the items of a batch to those that this rank takes.
    numbers
        Which batches.
    device
        Where they are put.
    workers
        Reader processes; 0 reads in this one. Each keeps its part of the dataset's memory for prepared items.

    Raises
    ------
    DataError
        If an item is damaged; also where a reader has found it.
    InterruptedRunError
        If a reader process dies.
    """
    if workers == 0:
        here = torch.device("cpu")
        yield from sent((load_batch(dataset, share(order[number]), here) for number in numbers), device)
        return
    yield from sent(_read_by_others(_Batches(dataset, order, share), numbers, device, workers), device)


def reader_count(wanted: int | Literal["auto"], dataset: MeasurementDataset, device: torch.device) -> int:
    """Return the number of reader processes of one rank.

    Parameters
    ----------
    wanted
        A number is taken at its word. ``auto``: one for each core that is left beside the rank's own, at most
        `MOST_READERS`, if files have to be read again and again for a GPU. Networks that are computed by the cores
        leave none.
    dataset
        What is read.
    device
        Where the networks are computed.
    """
    if wanted != "auto":
        return wanted
    if device.type != "cuda" or not dataset.reads_files:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(0, min(MOST_READERS, cores // ranks_here - 1))


def _read_by_others(batches: "_Batches", numbers: range, device: torch.device, workers: int) -> Iterator[Measurement]:
    loader = DataLoader(
        batches,
        sampler=numbers,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=AHEAD,
        worker_init_fn=_begin,
        pin_memory=has_own_memory(device),
        # Fresh processes inherit no lock, thread or open file of this one.
        multiprocessing_context="spawn",
        # Without one, the loader would draw from the global generator.
        generator=torch.Generator(),
    )
    given = iter(loader)
    try:
        for _ in numbers:
            with watched_readers(workers):
                batch = next(given)
            if isinstance(batch, RsdMedError):
                raise batch
            yield batch
    finally:
        del given  # the readers end with it, also while a traceback holds on to this frame


@contextmanager
def watched_readers(workers: int) -> Iterator[None]:
    """Tell of a reader's death in a sentence: torch raises it wherever the main thread happens to be."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InterruptedRunError(
            f"a process that reads data has ended ({' '.join(str(error).split())[:160]}): too little memory for "
            f"engine.workers: {workers}? The last checkpoint is kept: run the same command again."
        ) from error


class _Batches(Dataset[Measurement | RsdMedError]):
    """Batch by number; an error a person can act on is handed over, since raising it would wrap it in a traceback."""

    def __init__(self, dataset: MeasurementDataset, order: BatchOrder, share: Share) -> None:
        self.dataset, self.order, self.share = dataset, order, share

    def __getitem__(self, number: int) -> Measurement | RsdMedError:
        try:
            return load_batch(self.dataset, self.share(self.order[number]), torch.device("cpu"))
        except RsdMedError as error:
            return error


@atexit.register
def _end_readers() -> None:
    """Kill the readers that are left when Python exits: it would ask them by SIGTERM, which they ignore, and wait."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _begin(_: int) -> None:
    """Leave signals to the process that reads for, whose end every reader notices; share its memory out."""
    for number in StopRequest.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    info = get_worker_info()
    assert info is not None
    assert isinstance(info.dataset, _Batches)
    info.dataset.dataset.share_cache(info.num_workers)
