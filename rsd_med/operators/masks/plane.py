"""Masks that vary along both axes: Poisson disks, and radial spokes on the Cartesian grid.

In two dimensions the readout is one axis and always complete, so such masks belong to slices of three-dimensional
scans, whose two phase encodings they undersample, or to simulations.
"""

import math
from itertools import product

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.operators.masks.budget import MaskDesign, acs_slice, existing, floor_of, require_acceleration

_SHRINK = 0.9
"""By how much the Poisson disks shrink when no more of them fit."""

_GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2


def poisson_disk_masks(design: MaskDesign, batch: int, draws: Draws, slope: float = 1.0) -> Tensor:
    """Draw masks of entries that keep their distance from each other: random without clusters and without gaps.

    Darts are thrown in random order and stick where no other is within the disk around either of the two; the disk at
    a distance ρ from the centre, 1 at the edges, is (1 + slope ρ) times that at the centre, so that the density falls
    outwards. When none fits any more, all disks shrink by a tenth, until the requested number is met exactly. All darts
    of a round are decided at once: one sticks if it comes first among those in reach of its disk.

    Parameters
    ----------
    design
        What is asked for; rows and columns of the plane.
    batch
        How many masks.
    draws
        The source of randomness; the masks lie on its device.
    slope
        How fast the disks grow outwards; 0 is uniform.

    Returns
    -------
    Tensor
        Boolean ``(batch, y, x)``, each with exactly ``round(entries / R)`` entries.

    Raises
    ------
    ValueError
        If R < 1, if the ACS does not fit, if R leaves fewer entries than the ACS needs, or if no whole number of
        entries comes within 2 % of R.
    """
    shape = (design.rows, design.width)
    total, square, there = _plan(design, draws.device)
    need = total - int(square.sum())
    growth = 1 + slope * _radius(shape, draws.device)
    order = draws.uniform(batch, *shape)
    free = (there & ~square).expand(batch, -1, -1)
    taken = torch.zeros_like(free)
    if need == 0:
        return taken | square
    # Disks of this size would cover the plane if they touched; at random, they stop touching earlier.
    size = 1.2 * math.sqrt(float((1 / growth[there & ~square].square()).sum()) / need)
    missing = torch.full((batch,), need, device=draws.device)
    while bool((missing > 0).any()):
        thrown = _throw(order, free & (missing > 0)[:, None, None], taken, size * growth)
        # Of the last round, only as many as are missing.
        late = order.masked_fill(~thrown, torch.inf).flatten(1).argsort(1).argsort(1).reshape(order.shape)
        taken = taken | (thrown & (late < missing[:, None, None]))
        missing = need - taken.flatten(1).sum(1)
        free = free & ~taken
        size *= _SHRINK
    return taken | square


def radial_masks(design: MaskDesign, batch: int, draws: Draws) -> Tensor:
    """Draw masks of spokes through the centre of k-space, each turned by the golden angle, on the nearest entries.

    The first angle is random (golden angle: Winkelmann et al., IEEE Trans. Med. Imaging 26, 2007). The last spoke is
    cut to the length that meets the requested number of entries exactly. Spokes end at the ellipse that touches the
    edges; the corners of k-space are never measured.

    Parameters
    ----------
    design, batch, draws
        As in `poisson_disk_masks`.

    Returns
    -------
    Tensor
        Boolean ``(batch, y, x)``, each with exactly ``round(entries / R)`` entries.

    Raises
    ------
    ValueError
        As in `poisson_disk_masks`, and if the ellipse has fewer entries than R asks for.
    """
    shape = (design.rows, design.width)
    total, square, there = _plan(design, draws.device)
    need = total - int(square.sum())
    turns = draws.uniform(batch, dtype=torch.float64) * math.pi
    steps = 2 * max(shape)
    # From the centre outwards, to both sides in turn.
    length = (torch.arange(steps, device=draws.device, dtype=torch.float64) + 0.5) / steps
    masks = []
    for turn in turns:
        angle = turn + _GOLDEN_ANGLE * torch.arange(8 * max(shape), device=draws.device, dtype=torch.float64)
        along = torch.stack((length, -length), dim=1).flatten()
        places = []
        for size, wave in zip(shape, (angle.sin(), angle.cos()), strict=True):
            position = (size // 2 + along * (size / 2) * wave[:, None]).round().long()
            places.append(position.clamp_(0, size - 1).flatten())
        entry = places[0] * shape[1] + places[1]
        # When each entry is met first: spokes in their order, and along a spoke from the centre outwards.
        first = torch.full((shape[0] * shape[1],), len(entry), device=draws.device)
        first.scatter_reduce_(0, entry, torch.arange(len(entry), device=draws.device), "amin")
        first[~(there & ~square).flatten()] = len(entry)
        met = int((first < len(entry)).sum())
        if met < need:
            raise ValueError(
                f"Radial spokes reach {met + total - need} of the {int(there.sum())} entries of k-space, fewer than "
                f"acceleration {design.acceleration:g} asks for: raise it above "
                f"{int(there.sum()) / (met + total - need):.3g}."
            )
        mask = torch.zeros(shape[0] * shape[1], dtype=torch.bool, device=draws.device)
        mask[first.argsort()[:need]] = True
        masks.append(mask.reshape(shape) | square)
    return torch.stack(masks)


def _plan(design: MaskDesign, device: torch.device) -> tuple[int, Tensor, Tensor]:
    """Return the number of entries to measure, the ACS square, and the entries that can be measured."""
    rows, columns, acceleration, acs_lines = design.rows, design.width, design.acceleration, design.acs_lines
    if rows < 1 or columns < 1:
        raise ValueError(f"A mask needs at least one entry, not {rows} × {columns}.")
    there = existing(design, device).expand(rows, columns)
    square = torch.zeros(rows, columns, dtype=torch.bool, device=device)
    square[acs_slice(rows, acs_lines), acs_slice(columns, acs_lines)] = True
    if bool((square & ~there).any()):
        raise ValueError(f"The scan lacks some of the {acs_lines} central columns: ask for fewer ACS lines.")
    entries = int(there.sum())
    floor_of(entries, acceleration)
    total = round(entries / acceleration)
    if total < max(int(square.sum()), 1):
        raise ValueError(
            f"Acceleration {acceleration:g} leaves {total} of {entries} k-space entries, fewer than the "
            f"{max(int(square.sum()), 1)} that must be kept: lower the acceleration or the number of ACS lines."
        )
    require_acceleration(total, entries, acceleration, "entries")
    return total, square, there


def _radius(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return the distance of every entry from the centre, 1 in the middle of the edges, float32 (y, x)."""
    y, x = ((torch.arange(size, device=device) - size // 2) / max(size / 2, 1) for size in shape)
    return (y[:, None].square() + x.square()).sqrt()


def _throw(order: Tensor, free: Tensor, taken: Tensor, disk: Tensor) -> Tensor:
    """Return which free entries are taken besides those that are, bool (b, y, x): first come, and none too near."""
    reach = math.ceil(float(disk.max()))
    pairs = []
    # Half of the neighbours: each pair is looked at from both of its ends.
    for dy, dx in product(range(reach + 1), range(-reach, reach + 1)):
        if (dy, dx) <= (0, 0):
            continue
        here, there = _shifted(disk, dy, dx)
        near = torch.maximum(here, there) > math.hypot(dy, dx)
        if bool(near.any()):
            pairs.append((dy, dx, near))
    new = torch.zeros_like(free)
    open_ = free & ~_near(taken, pairs)
    while bool(open_.any()):
        rank = order.masked_fill(~open_, torch.inf)
        beaten = torch.zeros_like(free)
        for dy, dx, near in pairs:
            (a, b), (lost_a, lost_b) = _shifted(rank, dy, dx), _shifted(beaten, dy, dx)
            lost_a |= near & (b < a)
            lost_b |= near & (a < b)
        stuck = open_ & ~beaten
        new |= stuck
        open_ = open_ & ~stuck & ~_near(stuck, pairs)
    return new


def _near(points: Tensor, pairs: list[tuple[int, int, Tensor]]) -> Tensor:
    """Return the entries in reach of points, bool (b, y, x)."""
    covered = torch.zeros_like(points)
    for dy, dx, near in pairs:
        (a, b), (covered_a, covered_b) = _shifted(points, dy, dx), _shifted(covered, dy, dx)
        covered_a |= near & b
        covered_b |= near & a
    return covered


def _shifted(data: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    """Return two views of data (..., y, x): entries that have a neighbour at (dy, dx), and these neighbours."""
    rows, columns = data.shape[-2:]
    left, right = max(-dx, 0), max(dx, 0)
    here = data[..., : max(rows - dy, 0), left : columns - right if columns > right else left]
    there = data[..., dy:, right : columns - left if columns > left else right]
    return here, there
