"""Balls around features, as wide as the distance to a near neighbour: by brute force in blocks, in float64."""

from typing import NamedTuple

import torch
from torch import Tensor

from rsd_med.base.errors import DataError

PAIRS_AT_ONCE = 2**22
"""Distances held at a time: 32 MB."""

ROUNDING = 1e-12
"""Squared distances that differ by less than this share of the largest squared norm are equal but for rounding."""


class Held(NamedTuple):
    """How many balls hold each point, int64 ``(N,)``, and how many points each ball holds, ``(M,)``."""

    balls_per_point: Tensor
    points_per_ball: Tensor


def neighbour_radii(points: Tensor, k: int) -> Tensor:
    """Return each point's distance to its ``k``-th nearest other point of the same set.

    Parameters
    ----------
    points
        Real ``(N, D)`` with N > k.
    k
        Which neighbour; the point itself does not count.

    Returns
    -------
    Tensor
        Float64 ``(N,)``; 0 where a point is there more than ``k`` times.

    Raises
    ------
    DataError
        If a value is not finite, or there are no more than ``k`` points.
    """
    if len(points) <= k:
        raise DataError(
            f"a {k}th neighbour needs at least {k + 1} images and there are {len(points)}; generate or supply more"
        )
    points, _ = _centred(points, points)
    nearest = [_squared(block, points).topk(k + 1, dim=1, largest=False).values for block in _blocks(points, points)]
    return torch.cat(nearest)[:, -1].sqrt()


def hold(points: Tensor, centres: Tensor, radii: Tensor) -> Held:
    """Find out which closed balls hold which points.

    Parameters
    ----------
    points
        Real ``(N, D)``.
    centres, radii
        Real ``(M, D)`` and ``(M,)``.

    Raises
    ------
    DataError
        If a value is not finite, or the dimensions differ.
    """
    points, centres = _centred(points, centres)
    reach = radii.square() + ROUNDING * centres.square().sum(1).max()
    balls_per_point = []
    points_per_ball = torch.zeros(len(centres), dtype=torch.int64)
    for block in _blocks(points, centres):
        inside = _squared(block, centres) <= reach
        balls_per_point.append(inside.sum(1))
        points_per_ball += inside.sum(0)
    return Held(torch.cat(balls_per_point), points_per_ball)


def _centred(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float64 about the mean of the second: the products behind a distance then keep their digits."""
    if points.ndim != 2 or points.shape[1:] != centres.shape[1:]:
        raise DataError(f"features of shapes {tuple(points.shape)} and {tuple(centres.shape)} cannot be compared")
    points, centres = points.detach().cpu().double(), centres.detach().cpu().double()
    if not bool(torch.isfinite(points).all() and torch.isfinite(centres).all()):
        raise DataError("the features contain NaN or infinity; check the images for them")
    middle = centres.mean(0)
    return points - middle, centres - middle


def _blocks(points: Tensor, centres: Tensor) -> tuple[Tensor, ...]:
    return points.split(max(1, PAIRS_AT_ONCE // len(centres)))


def _squared(block: Tensor, centres: Tensor) -> Tensor:
    products = block @ centres.T
    return products.mul_(-2).add_(centres.square().sum(1)).add_(block.square().sum(1, keepdim=True)).clamp_(min=0)
