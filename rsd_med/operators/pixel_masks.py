"""Masks of pixels: which of them were seen at all."""

import torch
from torch import Tensor


def random_pixel_masks(items: int, size: tuple[int, int], missing: float, generator: torch.Generator) -> Tensor:
    """Draw masks whose pixels are missing independently; one mask for all channels (Ambient Diffusion).

    Parameters
    ----------
    items
        How many.
    size
        ``(y, x)``.
    missing
        Probability that a pixel is missing, from 0 to 1.
    generator
        The source of randomness; the masks lie on its device.

    Returns
    -------
    Tensor
        Boolean ``(items, 1, y, x)``, True where seen.
    """
    return torch.rand(items, 1, *size, generator=generator, device=generator.device) >= missing


def block_masks(items: int, size: tuple[int, int], share: float, generator: torch.Generator) -> Tensor:
    """Draw masks with one rectangle missing, of the image's proportions, anywhere inside it.

    Parameters
    ----------
    items
        How many.
    size
        ``(y, x)``.
    share
        The rectangle's part of the area, from 0 to 1; its sides are rounded to whole pixels.
    generator
        The source of randomness; the masks lie on its device.

    Returns
    -------
    Tensor
        Boolean ``(items, 1, y, x)``, True where seen.
    """
    missing = torch.ones(items, 1, 1, 1, dtype=torch.bool, device=generator.device)
    for axis, n in enumerate(size):
        side = round(n * share**0.5)
        start = torch.randint(n - side + 1, (items, 1), generator=generator, device=generator.device)
        position = torch.arange(n, device=generator.device)
        inside = (position >= start) & (position < start + side)
        missing = missing & inside.reshape(items, 1, *((n, 1) if axis == 0 else (1, n)))
    return ~missing


def further_pixel_masks(masks: Tensor, delta: float, generator: torch.Generator) -> Tensor:
    """Remove every seen pixel with probability delta.

    Parameters
    ----------
    masks
        Boolean ``(items, 1, y, x)``, True where seen.
    delta
        From 0 to 1.
    generator
        The source of randomness.

    Returns
    -------
    Tensor
        Masks of the same shape, True only where ``masks`` are.
    """
    kept = torch.rand(masks.shape, generator=generator, device=generator.device) >= delta
    return masks & kept.to(masks.device)
