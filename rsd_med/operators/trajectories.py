"""Where in k-space a non-Cartesian scan measures: (k_y, k_x) in cycles per field of view."""

import math

import torch
from torch import Tensor


def radial_trajectory(spokes: int, samples: int, size: int) -> Tensor:
    """Return evenly spaced diameters of k-space.

    Parameters
    ----------
    spokes, samples
        Number of diameters, over 180 degrees, and of positions on each.
    size
        Side of the image in pixels: the spokes reach to size / 2.

    Returns
    -------
    Tensor
        ``(spokes * samples, 2)`` float64 as (k_y, k_x) in cycles per field of view.
    """
    angles = math.pi * torch.arange(spokes, dtype=torch.float64) / spokes
    radii = (torch.arange(samples, dtype=torch.float64) - samples // 2) * size / samples
    directions = torch.stack((torch.sin(angles), torch.cos(angles)), dim=-1)
    return (directions[:, None] * radii[:, None]).reshape(-1, 2)


def spiral_trajectory(interleaves: int, samples: int, size: int, turns: float) -> Tensor:
    """Return Archimedean spirals from the centre of k-space outwards at constant angular velocity, evenly turned.

    Parameters
    ----------
    interleaves, samples
        Number of spirals and of positions on each.
    size
        Side of the image in pixels: the spirals reach to size / 2.
    turns
        Of each spiral: size / (2 interleaves) of them lie one cycle apart, as Nyquist asks.

    Returns
    -------
    Tensor
        ``(interleaves * samples, 2)`` float64 as (k_y, k_x) in cycles per field of view.
    """
    progress = torch.arange(samples, dtype=torch.float64) / max(1, samples - 1)
    starts = 2 * math.pi * torch.arange(interleaves, dtype=torch.float64) / interleaves
    angles = starts[:, None] + 2 * math.pi * turns * progress
    radii = size / 2 * progress
    return torch.stack((radii * torch.sin(angles), radii * torch.cos(angles)), dim=-1).reshape(-1, 2)
