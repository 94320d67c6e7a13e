"""How many columns or entries a mask may measure, where its calibration region lies, what it achieved."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 0.02
"""How far from the requested acceleration a mask may be, where whole lines permit."""


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
        raise ValueError(f"acs_lines must lie between 0 and the {width} k-space columns, not be {acs_lines}.")
    start = (width - acs_lines + 1) // 2
    return slice(start, start + acs_lines)


def achieved_acceleration(mask: Tensor, acquired: Tensor | None = None) -> float:
    """Return columns per measured column, or entries per entry, averaged over the batch.

    Parameters
    ----------
    mask
        Boolean ``(..., x)``, or ``(..., y, x)`` for patterns in the plane.
    acquired
        Boolean ``(x,)``: the columns that exist at all; by default every one.

    Raises
    ------
    ValueError
        If nothing is measured.
    """
    measured = int(mask.sum())
    if measured == 0:
        raise ValueError("A mask that measures nothing has no acceleration.")
    width = mask.shape[-1] if acquired is None else int(acquired.sum())
    return mask.numel() // mask.shape[-1] * width / measured


def floor_of(count: int, acceleration: float) -> int:
    """Return ``floor(count / acceleration)``.

    Raises
    ------
    ValueError
        If the acceleration is below 1.
    """
    if not acceleration >= 1:
        raise ValueError(f"The acceleration must be at least 1, and is {acceleration}.")
    # The small addend keeps a quotient that is whole, up to rounding, from losing a line.
    return math.floor(count / acceleration + 1e-9)


def nearest_count(count: int, acceleration: float) -> int:
    """Return how many of ``count`` columns to measure: ``floor(count / R)``, or the nearest number if that is off.

    The floor is the published rule (Aali et al., ICLR 2025) and holds where it comes within 2 % of the request; with
    few columns it need not, and the whole number whose acceleration is nearest to R is taken.

    Raises
    ------
    ValueError
        If the acceleration is below 1.
    """
    fewer = floor_of(count, acceleration)
    if fewer and count / fewer <= acceleration * (1 + TOLERANCE):
        return fewer
    more = min(fewer + 1, count)
    if fewer and count / fewer - acceleration < acceleration - count / more:
        return fewer
    # Half a line is none.
    return more if fewer or count / acceleration > 0.5 else 0


@dataclass(frozen=True)
class MaskDesign:
    """What is asked of a mask.

    Attributes
    ----------
    width
        Number of k-space columns.
    acceleration
        Requested acceleration R >= 1: one in R columns, or entries of the plane, is measured.
    acs_lines
        Number of central columns, or side of the central square, that are always measured.
    acquired
        Boolean ``(width,)``: the columns that exist at all; None is all. Zero-padded or partial scans lack some; those
        are never sampled, and R counts relative to the acquired ones.
    rows
        Number of rows, for masks that vary along both axes.
    """

    width: int
    acceleration: float
    acs_lines: int
    acquired: Tensor | None = None
    rows: int = 1


def plan(design: MaskDesign, device: torch.device, rounded: bool = False) -> tuple[int, slice, Tensor]:
    """Return the number of columns to measure, the ACS among them, and the columns that can be measured.

    Parameters
    ----------
    design
        What is asked for.
    device
        Where the columns shall lie.
    rounded
        Measure round(width / R) columns, and not `nearest_count`.

    Returns
    -------
    tuple
        The number; the central columns; bool ``(width,)``, True where a column exists.

    Raises
    ------
    ValueError
        If R < 1, if the ACS does not fit, or if R leaves fewer columns than the ACS needs.
    """
    width, acceleration, acs_lines = design.width, design.acceleration, design.acs_lines
    if width < 1:
        raise ValueError(f"A mask needs at least one k-space column, not {width}.")
    centre = acs_slice(width, acs_lines)
    there = existing(design, device)
    if not bool(there[centre].all()):
        raise ValueError(f"The scan lacks some of the {acs_lines} central columns: ask for fewer ACS lines.")
    columns = int(there.sum())
    total = nearest_count(columns, acceleration)
    if rounded:
        total = max(round(columns / acceleration), 1)
    if total < max(acs_lines, 1):
        raise ValueError(
            f"Acceleration {acceleration:g} leaves {total} of {columns} k-space columns, fewer than the "
            f"{max(acs_lines, 1)} that must be kept: lower the acceleration or the number of ACS lines."
        )
    return total, centre, there


def existing(design: MaskDesign, device: torch.device) -> Tensor:
    """Return the columns that exist, bool ``(width,)``.

    Raises
    ------
    ValueError
        If ``acquired`` is not boolean of that shape.
    """
    width, acquired = design.width, design.acquired
    if acquired is None:
        return torch.ones(width, dtype=torch.bool, device=device)
    if acquired.dtype != torch.bool or acquired.shape != (width,):
        raise ValueError(
            f"The acquired columns must be boolean of shape ({width},), "
            f"not {acquired.dtype} of shape {tuple(acquired.shape)}."
        )
    return acquired.to(device)


def require_acceleration(total: int, columns: int, acceleration: float, what: str) -> None:
    """Refuse a count whose acceleration is more than 2 % off the request.

    Raises
    ------
    ValueError
        If so, with the nearest acceleration.
    """
    if abs(columns / total / acceleration - 1) > TOLERANCE:
        raise ValueError(
            f"No whole number of {what} out of {columns} comes within 2 % of acceleration {acceleration:g}: the "
            f"nearest is {columns / total:.3g}."
        )
