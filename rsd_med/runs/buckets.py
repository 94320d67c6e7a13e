"""Gradients that travel in buckets while the backward pass still makes the others."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_BYTES = 25 * 2**20
"""Large enough for a network to be busy with, small enough to leave early (as DistributedDataParallel has it)."""


class Buckets:
    """Averages the gradients of one backward pass over all ranks, each bucket as soon as it is whole.

    The backward pass reaches the last layers first: buckets are filled from the end. They leave in their order on every
    rank, whichever is whole first.

    Parameters
    ----------
    module
        The network that may learn in the pass; if it does not, nothing is sent.
    world_size
        Number of ranks.
    guard
        Calls a function that may meet a broken connection.
    """

    def __init__(self, module: nn.Module, world_size: int, guard: Callable[[Callable[[], Any]], Any]) -> None:
        self.world_size = world_size
        self.guard = guard
        self.buckets: list[list[Tensor]] = [[]]
        size = 0
        for parameter in reversed([one for one in module.parameters() if one.requires_grad]):
            if size and size + parameter.nbytes > BUCKET_BYTES:
                self.buckets.append([])
                size = 0
            self.buckets[-1].append(parameter)
            size += parameter.nbytes
        self._place = {parameter: number for number, bucket in enumerate(self.buckets) for parameter in bucket}
        self._missing = [len(bucket) for bucket in self.buckets]
        self._sent: list[tuple[list[Tensor], Tensor, Any]] = []
        self._handles = [one.register_post_accumulate_grad_hook(self._arrive) for one in self._place]

    def stop_listening(self) -> None:
        """End what began with the pass: further gradients are not counted."""
        for handle in self._handles:
            handle.remove()

    def finish(self) -> None:
        """Send what is left, wait for all, and put the means in place of the gradients."""
        while len(self._sent) < len(self.buckets):
            self._send()
        for gradients, flat, work in self._sent:
            if gradients:
                self.guard(work.wait)
                flat /= self.world_size
                parts = flat.split([gradient.numel() for gradient in gradients])
                means = [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]
                torch._foreach_copy_(gradients, means)

    def _arrive(self, parameter: Tensor) -> None:
        self._missing[self._place[parameter]] -= 1
        while len(self._sent) < len(self.buckets) and self._missing[len(self._sent)] == 0:
            self._send()

    def _send(self) -> None:
        """Send the next bucket: of weights that had a part in the loss, the same on every rank."""
        gradients = [parameter.grad for parameter in self.buckets[len(self._sent)] if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients]) if gradients else torch.empty(0)
        work = self.guard(lambda: dist.all_reduce(flat, async_op=True)) if gradients else None
        self._sent.append((gradients, flat, work))
