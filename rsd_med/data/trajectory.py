"""The units of a trajectory: files state them in two ways, and this says which it is."""

import math

import torch
from torch import Tensor

from rsd_med.base.errors import DataError

_ROUNDING = 1 + 1e-3

LEAST_REACH = 1 / 8
"""Of the resolution of the image. A trajectory that stays below is in other units, such as those that end at 1."""


def in_cycles(trajectory: Tensor, size: tuple[int, int], name: str) -> Tensor:
    """Return positions in cycles per field of view.

    Neither ISMRMRD nor arrays say their units. Positions that reach no further than 1/2 are in cycles per pixel: in
    cycles per field of view, all of them would lie in the one central point of k-space.

    Parameters
    ----------
    trajectory
        Real (samples, 2): (k_y, k_x).
    size
        (y, x) of the image.
    name
        Of the item, for messages.

    Returns
    -------
    Tensor
        float32, (samples, 2), from -n/2 to n/2.

    Raises
    ------
    DataError
        If positions are not finite, lie beyond n/2, seem to be in radians, or all lie close to the centre.
    """
    limits = torch.tensor(size, dtype=torch.float64) / 2
    positions = trajectory.double()
    reach = float(positions.abs().max()) if positions.numel() else 0.0
    if not math.isfinite(reach):
        raise DataError(f"{name}: the trajectory holds NaN or infinite positions; write it again.")
    if reach <= 0.5 * _ROUNDING:
        positions = positions * 2 * limits
    elif abs(reach / math.pi - 1) < 0.02 and float(limits.min()) > 2 * math.pi:
        raise DataError(f"{name}: the trajectory reaches to π: divide radians by 2π, to have cycles per pixel.")
    if bool((positions.abs() > limits * _ROUNDING).any()):
        raise DataError(
            f"{name}: the trajectory reaches to {reach:.4g}, and half of the matrix is "
            f"{size[0] / 2:g} × {size[1] / 2:g}: give cycles per field of view, or per pixel, or a larger matrix."
        )
    if bool((positions.abs() < limits * LEAST_REACH).all()):
        raise DataError(
            f"{name}: the trajectory reaches to {reach:.4g}, which is less than an eighth of the resolution of a "
            f"{size[0]} × {size[1]} matrix: give cycles per field of view, or per pixel, or a smaller matrix."
        )
    return positions.clamp(-limits, limits).float()
