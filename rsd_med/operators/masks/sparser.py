"""Sparser masks of every acceleration: what a network is shown that shall serve all of them."""

import torch
from torch import Tensor

from rsd_med.base.devices import sent
from rsd_med.base.draws import Draws


def sparser_masks(mask: Tensor, central: tuple[int, int], shares: tuple[float, float], draws: Draws) -> Tensor:
    """Take columns away from masks of whole columns, of each mask another part.

    Of a mask a number of central columns stays, drawn between two numbers uniformly in their logarithm, and of the
    others a share drawn uniformly between two shares, each column by chance. Central columns beyond that number count
    as others.

    Parameters
    ----------
    mask
        Boolean ``(b, 1, 1, x)``.
    central
        The least number of central columns that stay, and the greatest.
    shares
        The least share of the others, and the greatest.
    draws
        The source of randomness.

    Returns
    -------
    Tensor
        Boolean of the same shape and device: a subset of ``mask``.

    Raises
    ------
    ValueError
        If one of the two is no range.
    """
    least, most = central
    low, high = shares
    if not 1 <= least <= most:
        raise ValueError(f"Of central columns {least} to {most} cannot stay.")
    if not 0 < low <= high <= 1:
        raise ValueError(f"Of the other columns a share from {low:g} to {high:g} cannot stay.")
    items, width = len(mask), mask.shape[-1]
    host = draws.host
    # By ratio: few columns are as frequent as many, though there are fewer numbers of them.
    lines = (least * ((most + 1) / least) ** host.uniform(items, 1, 1, 1)).to(torch.int64).clamp(max=most)
    share = low + (high - low) * host.uniform(items, 1, 1, 1)
    column, first = torch.arange(width), (width - lines + 1) // 2  # as `acs_slice` places them
    centre = (column >= first) & (column < first + lines)
    stays = centre | (host.uniform(items, 1, 1, width) < share)
    return mask & sent(stays, mask.device)
