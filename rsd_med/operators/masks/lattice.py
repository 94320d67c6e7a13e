"""Equispaced masks on one lattice through all of k-space, as scanners acquire and fastMRI simulates them."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.operators.masks.budget import TOLERANCE, MaskDesign, plan, require_acceleration

_STRETCHES = 81
_STRETCH = 0.08


def equispaced_fraction_masks(design: MaskDesign, batch: int, draws: Draws) -> Tensor:
    """Draw masks with evenly spaced columns, through the ACS too, of a spacing adjusted for the ACS.

    fastMRI's ``EquispacedMaskFractionFunc``: with N columns and L ACS lines, the lattice round(o + k s) has the spacing
    s = R (L − N) / (R L − N) > R, a whole offset o, uniform in 0 ... round(s) − 1, and ends before column N − 1. That
    meets R but for a line or two where lattice and ACS overlap by chance; here the spacing is stretched by as little
    as it takes to meet it.

    Parameters
    ----------
    design, batch, draws
        As in `random_masks`; the lattice spans the columns that were acquired.

    Returns
    -------
    Tensor
        Boolean ``(batch, width)``.

    Raises
    ------
    ValueError
        As in `random_masks`, and if no whole number of columns comes within 2 % of R.
    """
    total, centre, there = plan(design, draws.device, rounded=True)
    columns = int(there.sum())
    require_acceleration(total, columns, design.acceleration, "equispaced columns")
    lines = centre.stop - centre.start
    if total == lines:
        mask = torch.zeros(batch, design.width, dtype=torch.bool, device=draws.device)
        mask[:, centre] = True
        return mask
    spacing = (
        (columns - lines) / (columns / design.acceleration - lines)
        if columns / design.acceleration > lines
        else columns
    )
    offsets = draws.integers(max(round(spacing), 1), batch).tolist()
    # The unchanged spacing first, then ever larger changes.
    stretches = sorted(torch.linspace(-_STRETCH, _STRETCH, _STRETCHES).tolist(), key=abs)
    masks = []
    for offset in offsets:
        tried = (_lattice(spacing * (1 + stretch), offset, centre, there, 1) for stretch in stretches)
        masks.append(_nearest(tried, total))
        require_acceleration(int(masks[-1].sum()), columns, design.acceleration, "equispaced columns")
    return torch.stack(masks)


def equispaced_grid_masks(design: MaskDesign, batch: int, draws: Draws) -> Tensor:
    """Draw masks of every s-th column, s a whole number, and the ACS: what a scanner with parallel imaging acquires.

    fastMRI's ``EquiSpacedMaskFunc`` with its offset, uniform in 0 ... s − 1. There, s is what is called acceleration,
    and the ACS comes on top: 24 ACS lines of 320 turn 4 into 3.3. Here R is what the mask achieves, s is found for it,
    and an R that no s achieves is refused with those that can be had.

    Parameters
    ----------
    design, batch, draws
        As in `random_masks`.

    Returns
    -------
    Tensor
        Boolean ``(batch, width)``.

    Raises
    ------
    ValueError
        As in `random_masks`, and if no whole spacing comes within 2 % of R.
    """
    _, centre, there = plan(design, draws.device)
    columns = int(there.sum())
    lattices_of: dict[int, list[Tensor]] = {}
    means: dict[int, float] = {}
    for spacing in range(1, columns + 1):
        lattices = [_lattice(spacing, offset, centre, there, 0) for offset in range(spacing)]
        achieved = [columns / int(lattice.sum()) for lattice in lattices if bool(lattice.any())]
        means[spacing] = sum(achieved) / max(len(achieved), 1)
        close = [
            lattice
            for lattice in lattices
            if bool(lattice.any()) and abs(columns / int(lattice.sum()) / design.acceleration - 1) <= TOLERANCE
        ]
        if close:
            lattices_of[spacing] = close
        if means[spacing] > design.acceleration * (1 + 2 * TOLERANCE):
            break
    if not lattices_of:
        near = sorted(means, key=lambda spacing: abs(means[spacing] - design.acceleration))[:2]
        possible = " and ".join(f"every {spacing}. column {means[spacing]:.3g}" for spacing in sorted(near))
        raise ValueError(
            f"No grid of every s-th column with {design.acs_lines} ACS lines comes within 2 % of acceleration "
            f"{design.acceleration:g}: {possible}; ask for one of these, or for the pattern equispaced_fraction."
        )
    best = min(lattices_of, key=lambda spacing: abs(means[spacing] / design.acceleration - 1))
    numbers = draws.integers(len(lattices_of[best]), batch).tolist()
    return torch.stack([lattices_of[best][number] for number in numbers])


def _lattice(spacing: float, offset: int, centre: slice, there: Tensor, short: int) -> Tensor:
    """Return the columns round(offset + k spacing) and the ACS, bool (width,).

    Counted from the first acquired column, and ending ``short`` columns before the end of the last one.
    """
    columns = there.nonzero()[:, 0]
    first, extent = int(columns[0]), int(columns[-1] - columns[0]) + 1
    count = math.ceil((extent - short - offset) / spacing)
    places = (offset + spacing * torch.arange(max(count, 0), device=there.device, dtype=torch.float64)).round().long()
    mask = torch.zeros(len(there), dtype=torch.bool, device=there.device)
    mask[places.clamp_(max=extent - 1) + first] = True
    mask &= there
    mask[centre] = True
    return mask


def _nearest(masks: Iterable[Tensor], total: int) -> Tensor:
    """Return the first mask of ``total`` columns, or else the one that comes nearest to it."""
    best: Tensor | None = None
    off = 0
    for mask in masks:
        distance = abs(int(mask.sum()) - total)
        if best is None or distance < off:
            best, off = mask, distance
        if off == 0:
            break
    assert best is not None
    return best
