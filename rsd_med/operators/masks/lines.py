"""Masks of whole columns: random, of variable density, evenly spaced outside the ACS, partial Fourier."""

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.operators.masks.budget import MaskDesign, plan, require_acceleration

_LEAST_DENSITY = 0.02
"""Of a variable density: no column is impossible, for what is never measured can never be learnt."""


def random_mask(design: MaskDesign, draws: Draws) -> Tensor:
    """Draw one mask of shape ``(width,)``; see `random_masks`."""
    return random_masks(design, 1, draws)[0]


def random_masks(design: MaskDesign, batch: int, draws: Draws) -> Tensor:
    """Draw masks whose columns outside the ACS are uniform without replacement.

    fastMRI's ``RandomMaskFunc`` measures each column with the probability that gives as many on average; a fixed
    number makes every mask meet the acceleration (Aali et al., Ambient diffusion posterior sampling, ICLR 2025).

    Parameters
    ----------
    design
        What is asked for.
    batch
        How many masks.
    draws
        The source of randomness; the masks lie on its device.

    Returns
    -------
    Tensor
        Boolean ``(batch, width)``, each with exactly `nearest_count` columns (of the acquired ones if given).

    Raises
    ------
    ValueError
        If R < 1, if the ACS does not fit, or if R leaves fewer columns than the ACS needs.
    """
    total, centre, there = plan(design, draws.device)
    keys = draws.uniform(batch, design.width)
    return _smallest(keys, total, centre, there)


def variable_density_masks(design: MaskDesign, batch: int, draws: Draws, power: float = 3.0) -> Tensor:
    """Draw masks whose columns outside the ACS become rarer outwards, without replacement.

    A column at the distance r from the centre, 1 at the edge, is drawn with a weight of (1 − r)^power (Lustig et al.,
    Sparse MRI, Magn. Reson. Med. 58, 2007), but at least 0.02.

    Parameters
    ----------
    design, batch, draws
        As in `random_masks`.
    power
        How fast the density falls; 0 is uniform.

    Returns
    -------
    Tensor
        Boolean ``(batch, width)``, each with exactly `nearest_count` columns.

    Raises
    ------
    ValueError
        As in `random_masks`.
    """
    total, centre, there = plan(design, draws.device)
    distance = (torch.arange(design.width, device=draws.device) - design.width // 2).abs() / max(design.width // 2, 1)
    weight = (1 - distance).clamp(0, 1).pow(power).clamp_min(_LEAST_DENSITY)
    # The smallest of exponential draws with these rates are a weighted sample without replacement (Efraimidis and
    # Spirakis, Inf. Process. Lett. 97, 2006).
    keys = draws.uniform(batch, design.width, dtype=torch.float64)
    keys = -torch.log1p(-keys) / weight
    return _smallest(keys, total, centre, there)


def equispaced_mask(design: MaskDesign, draws: Draws) -> Tensor:
    """Draw one mask of shape ``(width,)``; see `equispaced_masks`."""
    return equispaced_masks(design, 1, draws)[0]


def equispaced_masks(design: MaskDesign, batch: int, draws: Draws) -> Tensor:
    """Draw masks whose columns outside the ACS are evenly spaced, with a random offset.

    The spacing is counted over the columns outside the ACS and is fractional, the spacing of fastMRI's
    ``EquiSpacedMaskFractionFunc``, so that the requested acceleration is met although the ACS is extra.
    The number of columns is the whole number nearest to ``width / R``.

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
        As in `random_masks`, and if no whole number of columns comes within 2 % of R.
    """
    total, centre, there = plan(design, draws.device, rounded=True)
    require_acceleration(total, int(there.sum()), design.acceleration, "equispaced columns")
    available = there.clone()
    available[centre] = False
    columns = available.nonzero()[:, 0]
    mask = torch.zeros(batch, design.width, dtype=torch.bool, device=draws.device)
    mask[:, centre] = True
    count = total - (centre.stop - centre.start)
    if count:
        spacing = len(columns) / count
        offset = draws.uniform(batch, 1, dtype=torch.float64) * spacing
        places = offset + spacing * torch.arange(count, device=draws.device)
        # Rounding may carry the last place over the edge.
        mask.scatter_(1, columns[places.long().clamp_(max=len(columns) - 1)], value=True)
    return mask


def partial_fourier_masks(design: MaskDesign, batch: int, draws: Draws) -> Tensor:
    """Draw masks that leave out one end of k-space, left or right at random, and measure everything else.

    What is left out has its mirror image among what is measured, and a smooth phase would give it back; a mask tells
    for certain which end is missing, though, so a prior cannot learn that end from masks of one side alone.

    Parameters
    ----------
    design, batch, draws
        As in `random_masks`; R lies below 2.

    Returns
    -------
    Tensor
        Boolean ``(batch, width)``, each with exactly `nearest_count` columns.

    Raises
    ------
    ValueError
        As in `random_masks`; if the centre and the ACS are not among what is left; if no whole number of columns comes
        within 2 % of R.
    """
    total, centre, there = plan(design, draws.device)
    columns = there.nonzero()[:, 0]
    require_acceleration(total, len(columns), design.acceleration, "columns")
    middle = design.width // 2
    first, last = min(centre.start, middle), max(centre.stop, middle + 1)
    if int(columns[-total]) > first or int(columns[total - 1]) < last - 1:
        raise ValueError(
            f"Partial Fourier with acceleration {design.acceleration:g} would leave out a part of the centre: ask for "
            f"less than {len(columns) / (len(columns) / 2 + (last - first) / 2):.3g}, or for fewer ACS lines."
        )
    right = draws.uniform(batch, 1) < 0.5
    number = there.cumsum(0) - 1
    measured = torch.where(right, number >= len(columns) - total, number < total)
    return measured & there


def _smallest(keys: Tensor, total: int, centre: slice, there: Tensor) -> Tensor:
    """Return the masks (batch, width) of the ``total`` smallest keys, the ACS always among them."""
    keys[:, centre] = -1.0
    keys[:, ~there] = torch.inf
    columns = keys.argsort(dim=-1)[:, :total]
    return torch.zeros(keys.shape, dtype=torch.bool, device=keys.device).scatter_(1, columns, value=True)
