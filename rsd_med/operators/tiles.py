"""Cutting large tensors into tiles that stay in a processor's cache between one pass over them and the next."""

from collections.abc import Iterator
from itertools import pairwise

import torch

CACHED_ENTRIES = 1 << 18
"""Entries of a tile: 2 MB of complex64, which the second or third level of cache of today's processors holds."""


def tiles(length: int, entries: int, device: torch.device) -> Iterator[slice]:
    """Cut an axis into slices of nearly equal length.

    Parameters
    ----------
    length
        Length of the axis.
    entries
        Number of entries of the whole tensor.
    device
        Where it lies. On a graphics card one tile is best: launching a kernel costs more than a cache saves.

    Yields
    ------
        Slices that cover the axis, in order; a single one where the tensor is small.
    """
    count = 1 if device.type != "cpu" else max(1, min(length, -(-entries // CACHED_ENTRIES)))
    bounds = [length * number // count for number in range(count + 1)]
    for start, stop in pairwise(bounds):
        yield slice(start, stop)
