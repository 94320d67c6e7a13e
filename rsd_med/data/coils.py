"""Simulated receive coils and the smooth phase of an MR image."""

import math

import torch
from torch import Tensor

_CONDUCTOR_RADIUS = 0.15
"""Softens the field at a wire, in half fields of view, so that a wire inside the corner of the image stays finite."""


def birdcage_maps(coils: int, shape: tuple[int, int], generator: torch.Generator, jitter: float = 0.3) -> Tensor:
    """Draw the sensitivity maps of a ring of surface coils around the field of view.

    Each coil is a long rectangular loop seen in cross-section: two wires with opposite currents, whose transverse
    field at z = x + iy is, by Biot-Savart, (z - a)/|z - a|² - (z - b)/|z - b|² (Roemer et al., The NMR phased array,
    Magn. Reson. Med. 16, 1990). The same draws give the same field at any image size.

    Parameters
    ----------
    coils
        Number of coils, at least 1. A single coil has a map of ones: its phase belongs to the image.
    shape
        Image size (y, x).
    generator
        Draws the rotation and radius of the ring and each coil's place, width, gain and phase.
    jitter
        How irregular the ring is, from 0 (a regular birdcage) to 1.

    Returns
    -------
    Tensor
        complex64, (coil, y, x), with Σ|S|² = 1 at every pixel.

    Raises
    ------
    ValueError
        If there is no coil, or ``jitter`` lies outside [0, 1].
    """
    if coils < 1:
        raise ValueError(f"A scan needs at least one coil, got {coils}.")
    if not 0 <= jitter <= 1:
        raise ValueError(f"jitter lies between 0 and 1, got {jitter}.")
    if coils == 1:
        return torch.ones(1, *shape, dtype=torch.complex64)
    ring = torch.rand(2, generator=generator)
    draws = torch.rand(5, coils, generator=generator)
    spread = jitter * (draws - 0.5)
    spacing = 2 * math.pi / coils
    angle = (torch.arange(coils) + ring[0] + spread[0]) * spacing
    radius = (1.35 + 0.3 * ring[1]) * (1 + 0.3 * spread[1])
    half_width = 0.5 * min(spacing, 1.2) * (1 + 0.5 * spread[2])
    gain = torch.exp(spread[3])
    phase = 2 * math.pi * draws[4]
    y, x = _axes(shape)
    z = torch.complex(x.expand(shape), y.expand(shape))
    field = _wire(z, torch.polar(radius, angle - half_width)) - _wire(z, torch.polar(radius, angle + half_width))
    # The conjugate is the co-rotating part a receiver sees; turning with its angle, a coil behaves as its neighbour.
    maps = torch.polar(gain, phase - angle)[:, None, None] * field.conj()
    power = maps.abs().square().sum(0, keepdim=True)
    return maps / power.sqrt().clamp_min(torch.finfo(torch.float32).tiny)


def smooth_phase(
    shape: tuple[int, int],
    generator: torch.Generator,
    order: int = 2,
    waves: int = 3,
    amplitude: float = 1.0,
) -> Tensor:
    """Draw a smooth phase map: a polynomial (shim, echo position) and a few slow cosines (susceptibility, flow).

    Parameters
    ----------
    shape
        Image size (y, x).
    generator
        Draws the coefficients.
    order
        Highest total degree of the polynomial.
    waves
        Number of cosines, each with at most one period across the field of view.
    amplitude
        Root mean square of the map over the image, in radians.

    Returns
    -------
    Tensor
        float32, (y, x), zero mean, in radians (not wrapped).
    """
    y, x = _axes(shape)
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i) if i + j > 0]
    weights = torch.randn(len(powers), generator=generator).tolist()
    cosines = torch.rand(waves, 4, generator=generator).tolist()
    total = torch.zeros(shape)
    for (i, j), weight in zip(powers, weights, strict=True):
        total = total + weight * y**i * x**j
    for height, direction, frequency, shift in cosines:
        along = math.cos(2 * math.pi * direction) * x + math.sin(2 * math.pi * direction) * y
        total = total + height * torch.cos(math.pi * (0.4 + 0.6 * frequency) * along + 2 * math.pi * shift)
    total = total - total.mean()
    return amplitude * total / total.square().mean().sqrt().clamp_min(1e-6)


def steep_places(shape: tuple[int, int], generator: torch.Generator, places: int = 2, height: float = 4.0) -> Tensor:
    """Draw phase that changes fast at a few places, as the field does near the sinuses and the ears.

    Parameters
    ----------
    shape
        Image size (y, x).
    generator
        Draws where, how wide and how high.
    places
        Number of bells, each of a width from an eighth to a third of half a field of view.
    height
        Standard deviation of their heights, in radians.

    Returns
    -------
    Tensor
        float32, (y, x), in radians (not wrapped).
    """
    y, x = _axes(shape)
    heights = (height * torch.randn(places, generator=generator)).tolist()
    total = torch.zeros(shape)
    for tall, (above, beside, width) in zip(heights, torch.rand(places, 3, generator=generator).tolist(), strict=True):
        distance = (y - 1.6 * (above - 0.5)).square() + (x - 1.6 * (beside - 0.5)).square()
        total = total + tall * torch.exp(-distance / (2 * (0.125 + 0.2 * width) ** 2))
    return total


def _axes(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pixel centres in half fields of view: y as a column, x as a row, both within (-1, 1)."""
    rows, columns = shape
    y = (torch.arange(rows, dtype=torch.float32) + 0.5) * (2 / rows) - 1
    x = (torch.arange(columns, dtype=torch.float32) + 0.5) * (2 / columns) - 1
    return y[:, None], x[None, :]


def _wire(z: Tensor, place: Tensor) -> Tensor:
    """Return the transverse field of long wires at ``place`` (coil,), at the points ``z`` (y, x)."""
    offset = z - place[:, None, None]
    return offset / (offset.abs().square() + _CONDUCTOR_RADIUS**2)
