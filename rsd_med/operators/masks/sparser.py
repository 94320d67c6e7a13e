"""Sparser masks of every acceleration: what a network is shown that shall serve all of them."""

import torch
from torch import Tensor

from rsd_med.base.devices import sent
from rsd_med.base.draws import Draws

LEAST_SHARE, MOST_SHARE = 0.2, 0.95
"""Of the columns outside the centre, so large a part stays, another one for each mask."""


def sparser_masks(mask: Tensor, most_central: int, least_central: int, draws: Draws) -> Tensor:
    """Take columns away from masks of whole columns, of each mask another part.

    Of a mask a number of central columns stays, drawn between two numbers, and of the others a share drawn between
    `LEAST_SHARE` and `MOST_SHARE`, each column by chance. Central columns beyond that number count as others.

    Parameters
    ----------
    mask
        Boolean ``(b, 1, 1, x)``.
    most_central, least_central
        Numbers of central columns.
    draws
        The source of randomness.

    Returns
    -------
    Tensor
        Boolean of the same shape and device: a subset of ``mask``.

    Raises
    ------
    ValueError
        If the numbers are no range.
    """
    if not 0 <= least_central <= most_central:
        raise ValueError(f"Of central columns {least_central} to {most_central} cannot stay.")
    items, width = len(mask), mask.shape[-1]
    host = draws.host
    central = least_central + host.integers(most_central - least_central + 1, items, 1, 1, 1)
    share = LEAST_SHARE + (MOST_SHARE - LEAST_SHARE) * host.uniform(items, 1, 1, 1)
    column, first = torch.arange(width), (width - central + 1) // 2  # as `acs_slice` places them
    centre = (column >= first) & (column < first + central)
    stays = centre | (host.uniform(items, 1, 1, width) < share)
    return mask & sent(stays, mask.device)
