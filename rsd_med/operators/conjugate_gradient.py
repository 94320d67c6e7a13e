"""Conjugate gradients for a batch of Hermitian positive systems, each with its own step lengths."""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradient(
    system: Callable[[Tensor], Tensor],
    right: Tensor,
    iterations: int,
    *,
    start: Tensor | None = None,
    tolerance: float = 0.0,
    report: Callable[[float], None] | None = None,
) -> Tensor:
    """Solve ``system(x) = right`` (Hestenes & Stiefel 1952).

    Parameters
    ----------
    system
        Hermitian positive definite, item by item, on ``(b, 1, y, x)``.
    right
        ``(b, 1, y, x)`` complex64.
    iterations
        At most so many.
    start
        Where to start; zero by default.
    tolerance
        Stop when every residual is at most this share of its right-hand side.
    report
        Told the share of the iterations done.

    Returns
    -------
    Tensor
        ``(b, 1, y, x)`` complex64.
    """
    x = torch.zeros_like(right) if start is None else start
    residual = right.clone() if start is None else right - system(start)
    direction = residual
    energy = _dot(residual, residual)
    goal = tolerance**2 * _dot(right, right)
    for iteration in range(iterations):
        # Without a tolerance nothing is asked of a GPU on the way.
        if tolerance > 0 and bool((energy <= goal).all()):
            break
        image = system(direction)
        # An item that is solved stays as it is: its result does not depend on the company it is solved in.
        step = torch.where(energy > goal, _ratio(energy, _dot(direction, image)), 0)
        x = x + step * direction
        residual = residual - step * image
        following = _dot(residual, residual)
        direction = residual + _ratio(following, energy) * direction
        energy = following
        if report is not None:
            report((iteration + 1) / iterations)
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the real inner product of each item, ``(b, 1, 1, 1)``."""
    return (a.conj() * b).real.sum(dim=(-3, -2, -1), keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """Return a / b, and 0 where b is 0: an item that is solved stays as it is."""
    return torch.where(b > 0, a / b.clamp_min(torch.finfo(b.dtype).tiny), 0)
