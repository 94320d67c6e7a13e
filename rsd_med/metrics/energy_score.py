"""The energy score: how far draws are from the data, and from one another (Gneiting & Raftery 2007, equation 21)."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from rsd_med.operators.linear import LinearOperator

Group = Literal["entries", "columns", "pixels", "patches", "image"]
"""What is compared as one vector: an entry of k-space over all coils, a column; a pixel, a patch, all of the image."""

PATCH = 4
"""Side of a patch, in pixels."""

SMALLEST = 1e-12
"""Squared lengths count as at least this, so that the gradient of a length is finite at zero."""


def energy_score(
    draws: Tensor,
    data: Tensor,
    operator: LinearOperator,
    groups: tuple[Group, ...],
) -> Tensor:
    """Return the energy score of draws, the mean over groups of their numbers, summed over the sorts of groups.

    With ‖·‖ for the length of a group's vector, n draws x_i and the data y,

        mean_i ‖x_i − y‖ − ½ mean_{i≠j} ‖x_i − x_j‖,

    whose expectation is least if the draws have the law of y (a proper scoring rule). Lengths of columns, patches and
    images are divided by the root of their numbers of rows or pixels, so that all sorts of groups weigh alike. That of
    all coils at a place of k-space is like that of one pixel: the squares of coil maps add up to 1.

    Parameters
    ----------
    draws
        Simulated data ``(b, n, coil, y, x)`` complex64, noise included; n > 1, or n = 1 for the mean distance alone.
    data
        Measured data ``(b, coil, y, x)``.
    operator
        The scan of the entries that count, with b items: others are left out.
    groups
        Sorts of groups.

    Returns
    -------
    Tensor
        ``(b,)`` float32.
    """
    measured = operator.entries(data)
    gaps = (draws - data[:, None]).masked_fill(~measured[:, None], 0)
    count = draws.shape[1]
    pairs = [(i, j) for i in range(count) for j in range(i)]
    total = torch.zeros(len(data), device=data.device)
    images = _images(gaps, operator) if set(groups) & set(_OF_IMAGE) else None
    for group in groups:
        each = images if group in _OF_IMAGE else gaps
        assert each is not None
        total = total + _lengths(each, measured, group).mean(1)
        if pairs:
            apart = torch.stack([each[:, i] - each[:, j] for i, j in pairs], 1)
            total = total - _lengths(apart, measured, group).mean(1) / 2
    return total


_OF_IMAGE: tuple[Group, ...] = ("pixels", "patches", "image")


def _images(gaps: Tensor, operator: LinearOperator) -> Tensor:
    """Return ``A^H`` of each gap, ``(b, n, coil, y, x)`` to ``(b, n, 1, y, x)``."""
    items, count = gaps.shape[:2]
    each = torch.arange(items, device=gaps.device).repeat_interleave(count)
    return operator[each].H(gaps.flatten(0, 1)).unflatten(0, (items, count))


def _lengths(gaps: Tensor, measured: Tensor, group: Group) -> Tensor:
    """Return the mean length of the groups of each gap or its image, ``(b, n, coil or 1, y, x)`` to ``(b, n)``."""
    squared = torch.view_as_real(gaps).square().sum((2, -1))
    if group in ("entries", "columns"):
        counted = measured.expand(len(gaps), 1, *gaps.shape[-2:]).to(torch.float32)
        if group == "entries":
            lengths = squared.clamp_min(SMALLEST).sqrt() * counted
            return lengths.sum((-2, -1)) / counted.sum((-2, -1)).clamp_min(1)
        of_column = squared.sum(-2) / counted.sum(-2).clamp_min(1)
        columns = counted.any(-2).to(torch.float32)
        return (of_column.clamp_min(SMALLEST).sqrt() * columns).sum(-1) / columns.sum(-1).clamp_min(1)
    if group == "image":
        return squared.mean((-2, -1)).clamp_min(SMALLEST).sqrt()
    if group == "patches":
        squared = avg_pool2d(squared, PATCH, ceil_mode=True, count_include_pad=False)
    return squared.clamp_min(SMALLEST).sqrt().mean((-2, -1))
