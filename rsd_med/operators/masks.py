"""Cartesian sampling masks: which k-space columns are measured.

Masks are boolean in centred order (zero frequency at ``width // 2``). The central ``acs_lines`` columns, the
autocalibration signal, are always measured, and the total is ``floor(width / acceleration)`` columns. A *further*
mask measures a subset, and never loses an ACS line (Aali et al., Ambient diffusion posterior sampling, ICLR 2025).
"""

import math

import torch
from torch import Tensor

_TOLERANCE = 0.02


def acs_slice(width: int, acs_lines: int) -> slice:
    """Return the columns of the autocalibration signal, placed as fastMRI does.

    Parameters
    ----------
    width
        Number of k-space columns.
    acs_lines
        Number of central columns.

    Raises
    ------
    ValueError
        If ``acs_lines`` is negative or larger than ``width``.
    """
    if not 0 <= acs_lines <= width:
        msg = f"acs_lines must lie between 0 and the {width} k-space columns, not be {acs_lines}."
        raise ValueError(msg)
    start = (width - acs_lines + 1) // 2
    return slice(start, start + acs_lines)


def random_mask(
    width: int, acceleration: float, acs_lines: int, generator: torch.Generator, acquired: Tensor | None = None
) -> Tensor:
    """Draw one mask of shape ``(width,)``; see `random_masks`."""
    return random_masks(1, width, acceleration, acs_lines, generator, acquired)[0]


def random_masks(
    batch: int,
    width: int,
    acceleration: float,
    acs_lines: int,
    generator: torch.Generator,
    acquired: Tensor | None = None,
) -> Tensor:
    """Draw masks whose columns outside the ACS are uniform without replacement.

    Parameters
    ----------
    batch
        How many masks.
    width
        Number of k-space columns.
    acceleration
        Requested acceleration R >= 1.
    acs_lines
        Number of central columns that are always measured.
    generator
        The source of randomness; the masks lie on its device.
    acquired
        Boolean ``(width,)``: the columns that exist at all. Zero-padded or partial scans lack some; those are never
        sampled, and R counts relative to the acquired ones.

    Returns
    -------
        Boolean ``(batch, width)``, each with exactly ``floor(width / R)`` columns (of the acquired ones if given).

    Raises
    ------
    ValueError
        If R < 1, if the ACS does not fit, or if R leaves fewer columns than the ACS needs.
    """
    total, centre, forbidden = _plan(width, acceleration, acs_lines, acquired, generator.device)
    keys = torch.rand(batch, width, generator=generator, device=generator.device)
    keys[:, centre] = -1.0  # always among the first
    if forbidden is not None:
        keys[:, forbidden] = 2.0  # never
    chosen = keys.argsort(dim=-1)[:, :total]
    return torch.zeros(batch, width, dtype=torch.bool, device=generator.device).scatter_(1, chosen, value=True)


def equispaced_mask(
    width: int, acceleration: float, acs_lines: int, generator: torch.Generator, acquired: Tensor | None = None
) -> Tensor:
    """Draw one mask of shape ``(width,)``; see `equispaced_masks`."""
    return equispaced_masks(1, width, acceleration, acs_lines, generator, acquired)[0]


def equispaced_masks(
    batch: int,
    width: int,
    acceleration: float,
    acs_lines: int,
    generator: torch.Generator,
    acquired: Tensor | None = None,
) -> Tensor:
    """Draw masks whose columns outside the ACS are evenly spaced, with a random offset.

    The spacing is counted over the columns outside the ACS and is fractional, the spacing of fastMRI's
    ``EquiSpacedMaskFractionFunc``, so that the requested acceleration is met although the ACS is extra.
    The number of columns is the whole number nearest to ``width / R``.

    Parameters
    ----------
    batch, width, acceleration, acs_lines, generator, acquired
        As in `random_masks`.

    Returns
    -------
        Boolean ``(batch, width)``.

    Raises
    ------
    ValueError
        As in `random_masks`, and if no whole number of columns comes within 2 % of R.
    """
    total, centre, forbidden = _plan(width, acceleration, acs_lines, acquired, generator.device, nearest=True)
    available = torch.ones(width, dtype=torch.bool, device=generator.device)
    available[centre] = False
    if forbidden is not None:
        available &= ~forbidden
    columns = available.nonzero()[:, 0]
    mask = torch.zeros(batch, width, dtype=torch.bool, device=generator.device)
    mask[:, centre] = True
    count = total - (centre.stop - centre.start)
    if count:
        spacing = len(columns) / count
        offset = torch.rand(batch, 1, generator=generator, device=generator.device, dtype=torch.float64) * spacing
        places = offset + spacing * torch.arange(count, device=generator.device)
        # Rounding may carry the last place over the edge.
        mask.scatter_(1, columns[places.long().clamp_(max=len(columns) - 1)], value=True)
    return mask


def further_lines(width: int, acceleration: float) -> int:
    """Return how many columns a further mask removes to go from acceleration R to R + 1.

    ``floor(width / R) - floor(width / (R + 1))``: of 320 columns 54, 16, 8 and 5 for R = 2, 4, 6 and 8
    (Aali et al., ICLR 2025, whose further masks are those of acceleration R + 1).

    Raises
    ------
    ValueError
        If R < 1.
    """
    return _floor_of(width, acceleration) - _floor_of(width, acceleration + 1)


def further_mask(mask: Tensor, acs_lines: int, removed_lines: int, generator: torch.Generator) -> Tensor:
    """Remove columns outside the ACS, uniformly without replacement, from each mask.

    Parameters
    ----------
    mask
        Boolean ``(..., x)``, one mask per leading index, for example ``(x,)`` or ``(b, 1, 1, x)``.
    acs_lines
        Number of central columns that are kept.
    removed_lines
        How many columns each mask loses.
    generator
        The source of randomness; the draw happens on its device.

    Returns
    -------
        Boolean of the same shape and device: a subset of ``mask``.

    Raises
    ------
    ValueError
        If a mask has fewer columns outside the ACS than are to be removed, or the numbers make no sense.
    """
    width = mask.shape[-1]
    centre = acs_slice(width, acs_lines)
    if removed_lines < 0:
        msg = f"The number of columns to remove must not be negative, and is {removed_lines}."
        raise ValueError(msg)
    removable = mask.clone()
    removable[..., centre] = False
    fewest = int(removable.sum(dim=-1).min()) if mask.numel() else 0
    if removed_lines > fewest:
        msg = (
            f"{removed_lines} columns cannot be removed from a mask that has only {fewest} outside its "
            f"{acs_lines} ACS lines: remove fewer lines, keep fewer ACS lines or lower the acceleration."
        )
        raise ValueError(msg)
    keys = torch.rand(mask.shape, generator=generator, device=generator.device).to(mask.device)
    removed = keys.masked_fill_(~removable, 2.0).argsort(dim=-1)[..., :removed_lines]
    return mask.scatter(-1, removed, value=False)


def achieved_acceleration(mask: Tensor, acquired: Tensor | None = None) -> float:
    """Return columns per measured column, averaged over the batch: the acceleration masks achieved.

    Parameters
    ----------
    mask
        Boolean ``(..., x)``.
    acquired
        Boolean ``(x,)``: the columns that exist at all; by default every one.

    Raises
    ------
    ValueError
        If nothing is measured.
    """
    measured = int(mask.sum())
    if measured == 0:
        msg = "A mask that measures nothing has no acceleration."
        raise ValueError(msg)
    width = mask.shape[-1] if acquired is None else int(acquired.sum())
    return mask.numel() // mask.shape[-1] * width / measured


def _floor_of(width: int, acceleration: float) -> int:
    if not acceleration >= 1:
        msg = f"The acceleration must be at least 1, and is {acceleration}."
        raise ValueError(msg)
    # The small addend keeps a quotient that is whole, up to rounding, from losing a line.
    return math.floor(width / acceleration + 1e-9)


def _plan(
    width: int,
    acceleration: float,
    acs_lines: int,
    acquired: Tensor | None,
    device: torch.device,
    nearest: bool = False,
) -> tuple[int, slice, Tensor | None]:
    """Return the number of columns to measure, the ACS, and the columns that cannot be measured."""
    if width < 1:
        msg = f"A mask needs at least one k-space column, not {width}."
        raise ValueError(msg)
    centre = acs_slice(width, acs_lines)
    forbidden = None
    columns = width
    if acquired is not None:
        if acquired.dtype != torch.bool or acquired.shape != (width,):
            msg = (
                f"The acquired columns must be boolean of shape ({width},), "
                f"not {acquired.dtype} of shape {tuple(acquired.shape)}."
            )
            raise ValueError(msg)
        forbidden = ~acquired.to(device)
        columns = width - int(forbidden.sum())
        if bool(forbidden[centre].any()):
            msg = f"The scan lacks some of the {acs_lines} central columns: ask for fewer ACS lines."
            raise ValueError(msg)
    total = _floor_of(columns, acceleration)
    if nearest:
        total = max(round(columns / acceleration), 1)
        if abs(columns / total / acceleration - 1) > _TOLERANCE:
            msg = (
                f"No whole number of equispaced columns out of {columns} comes within 2 % of acceleration "
                f"{acceleration:g}: the nearest is {columns / total:.3g}."
            )
            raise ValueError(msg)
    if total < max(acs_lines, 1):
        msg = (
            f"Acceleration {acceleration:g} leaves {total} of {columns} k-space columns, fewer than the "
            f"{max(acs_lines, 1)} that must be kept: lower the acceleration or the number of ACS lines."
        )
        raise ValueError(msg)
    return total, centre, forbidden
