"""Further masks: what remains when a part of the measured columns or entries is taken away."""

from collections.abc import Callable

import torch
from torch import Tensor

from rsd_med.base import later
from rsd_med.base.draws import Draws
from rsd_med.operators.masks.budget import acs_slice, floor_of


def further_lines(width: int, acceleration: float) -> int:
    """Return how many columns a further mask removes to go from acceleration R to R + 1.

    ``floor(width / R) - floor(width / (R + 1))``: of 320 columns 54, 16, 8 and 5 for R = 2, 4, 6 and 8
    (Aali et al., ICLR 2025, whose further masks are those of acceleration R + 1).

    Raises
    ------
    ValueError
        If R < 1.
    """
    return floor_of(width, acceleration) - floor_of(width, acceleration + 1)


def further_mask(
    mask: Tensor, acs_lines: int, removed_lines: int, draws: Draws, refused: Callable[[str], Exception] = ValueError
) -> Tensor:
    """Remove columns outside the ACS, uniformly without replacement, from each mask.

    Parameters
    ----------
    mask
        Boolean ``(..., x)``, one mask per leading index, for example ``(x,)`` or ``(b, 1, 1, x)``.
    acs_lines
        Number of central columns that are kept.
    removed_lines
        How many columns each mask loses.
    draws
        The source of randomness; the draw happens on its device.
    refused
        Makes the error of a mask that has too few; a GPU's mask is known to have too few a little later
        (`rsd_med.base.later`).

    Returns
    -------
    Tensor
        Boolean of the same shape and device: a subset of ``mask``.

    Raises
    ------
    ValueError
        If a mask has fewer columns outside the ACS than are to be removed, or the numbers make no sense.
    """
    removable = mask.clone()
    removable[..., acs_slice(mask.shape[-1], acs_lines)] = False
    return _without(mask, removable, removed_lines, draws, ("columns", f"its {acs_lines} ACS lines"), refused)


def further_entries(
    mask: Tensor, acs_lines: int, removed: int, draws: Draws, refused: Callable[[str], Exception] = ValueError
) -> Tensor:
    """Remove single entries outside the central square, uniformly without replacement, from masks of the plane.

    Parameters
    ----------
    mask
        Boolean ``(..., y, x)``, one mask per leading index.
    acs_lines
        Side of the central square that is kept.
    removed
        How many entries each mask loses.
    draws
        The source of randomness; the draw happens on its device.
    refused
        Makes the error of a mask that has too few; a GPU's mask is known to have too few a little later
        (`rsd_med.base.later`).

    Returns
    -------
    Tensor
        Boolean of the same shape and device: a subset of ``mask``.

    Raises
    ------
    ValueError
        As in `further_mask`.
    """
    removable = mask.clone()
    rows, columns = (acs_slice(size, acs_lines) for size in mask.shape[-2:])
    removable[..., rows, columns] = False
    named = "entries", f"its square of {acs_lines} ACS lines"
    remaining = _without(mask.flatten(-2), removable.flatten(-2), removed, draws, named, refused)
    return remaining.reshape(mask.shape)


def _without(
    mask: Tensor,
    removable: Tensor,
    removed: int,
    draws: Draws,
    named: tuple[str, str],
    refused: Callable[[str], Exception],
) -> Tensor:
    what, protected = named
    if removed < 0:
        raise ValueError(f"The number of {what} to remove must not be negative, and is {removed}.")
    if mask.numel() or removed:
        fewest = removable.sum(dim=-1).min() if mask.numel() else mask.new_zeros((), dtype=torch.int64)

        def too_few() -> Exception:
            return refused(
                f"{removed} {what} cannot be removed from a mask that has only {int(fewest)} outside {protected}: "
                "remove fewer lines, keep fewer ACS lines or lower the acceleration."
            )

        later.require(fewest >= removed, too_few)
    keys = draws.uniform(*mask.shape).to(mask.device)
    lost = keys.masked_fill_(~removable, 2.0).argsort(dim=-1)[..., :removed]
    return mask.scatter(-1, lost, value=False)
