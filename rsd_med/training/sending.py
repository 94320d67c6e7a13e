"""Batches on their way to a GPU: each is sent while the step before it is computed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from rsd_med.corruptions.measurement import Measurement

Item = TypeVar("Item")
Sent = TypeVar("Sent")


def has_own_memory(device: torch.device) -> bool:
    """Say whether batches travel to a device, and in pinned memory: a GPU that already holds the networks."""
    return device.type == "cuda" and torch.cuda.is_initialized()


def sent(batches: Iterable[Measurement], device: torch.device) -> Iterator[Measurement]:
    """Yield the batches on a device; to a GPU, the next one is on its way when one is handed out.

    Copies run on a stream of their own, from pinned memory, so that the GPU computes meanwhile. What is handed out
    is ordered after its own copy, and no other.
    """
    if not has_own_memory(device):
        yield from (batch.to(device) for batch in batches)
        return
    stream = torch.cuda.Stream(device)

    def send(batch: Measurement) -> tuple[Measurement, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            return batch.pin_memory().to(device, non_blocking=True), stream.record_event()

    for batch, arrival in one_ahead(batches, send):
        current = torch.cuda.current_stream(device)
        current.wait_event(arrival)

        def used(tensor: Tensor, by: torch.cuda.Stream = current) -> Tensor:
            tensor.record_stream(by)  # or its memory could be given away while the step still reads it
            return tensor

        yield batch.with_tensors(used)


def one_ahead(items: Iterable[Item], send: Callable[[Item], Sent]) -> Iterator[Sent]:
    """Yield ``send(item)`` of each item, in order; that of the next is called before one is yielded."""
    on_their_way: deque[Sent] = deque()
    for item in items:
        on_their_way.append(send(item))
        if len(on_their_way) > 1:
            yield on_their_way.popleft()
    yield from on_their_way
