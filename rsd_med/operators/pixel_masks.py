"""Masks of pixels: which of them were seen at all."""

import torch
from torch import Tensor

from rsd_med.base.draws import Draws


def random_pixel_masks(items: int, size: tuple[int, int], missing: float, draws: Draws) -> Tensor:
    """Draw masks whose pixels are missing independently; one mask for all channels (Ambient Diffusion).

    Parameters
    ----------
    items
        How many.
    size
        ``(y, x)``.
    missing
        Probability that a pixel is missing, from 0 to 1.
    draws
        The source of randomness; the masks lie on its device.

    Returns
    -------
    Tensor
        Boolean ``(items, 1, y, x)``, True where seen.
    """
    return draws.uniform(items, 1, *size) >= missing


def block_masks(items: int, size: tuple[int, int], share: float, draws: Draws) -> Tensor:
    """Draw masks with one rectangle missing, of the image's proportions, anywhere inside it.

    Parameters
    ----------
    items
        How many.
    size
        ``(y, x)``.
    share
        The rectangle's part of the area, from 0 to 1; its sides are rounded to whole pixels.
    draws
        The source of randomness; the masks lie on its device.

    Returns
    -------
    Tensor
        Boolean ``(items, 1, y, x)``, True where seen.
    """
    missing = torch.ones(items, 1, 1, 1, dtype=torch.bool, device=draws.device)
    for axis, n in enumerate(size):
        side = round(n * share**0.5)
        start = draws.integers(n - side + 1, items, 1)
        position = torch.arange(n, device=draws.device)
        inside = (position >= start) & (position < start + side)
        missing = missing & inside.reshape(items, 1, *((n, 1) if axis == 0 else (1, n)))
    return ~missing


def further_pixel_masks(masks: Tensor, delta: float, draws: Draws) -> Tensor:
    """Remove every seen pixel with probability delta.

    Parameters
    ----------
    masks
        Boolean ``(items, 1, y, x)``, True where seen.
    delta
        From 0 to 1.
    draws
        The source of randomness.

    Returns
    -------
    Tensor
        Masks of the same shape, True only where ``masks`` are.
    """
    remaining = draws.uniform(*masks.shape) >= delta
    return masks & remaining.to(masks.device)
