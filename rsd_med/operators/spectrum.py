"""What applying A^H A tells of it: its largest eigenvalue and its diagonal."""

from collections.abc import Callable

import torch
from torch import Tensor

MARGIN = 1.02
"""The iteration approaches from below; so much is added, more than what it may lack when it stops."""

SETTLED = 1e-3
"""It stops when no item's value moves by more than this share."""


@torch.no_grad()
def power_iteration(normal: Callable[[Tensor], Tensor], like: Tensor, iterations: int = 60) -> Tensor:
    """Bound the largest eigenvalue of a Hermitian positive map from above, item by item.

    Parameters
    ----------
    normal
        The map, on a batch ``(b, ...)``.
    like
        Gives shape, dtype and device; its values do not matter.
    iterations
        At most.

    Returns
    -------
    Tensor
        Real ``(b,)``; 0 where the map is.
    """
    x = _noise(like, 0)
    value = torch.zeros(len(like), dtype=like.real.dtype, device=like.device)
    for _ in range(iterations):
        norm = x.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
        x = normal(x / norm.clamp_min(torch.finfo(norm.dtype).tiny))
        before, value = value, x.flatten(1).norm(dim=1)
        if bool(((value - before).abs() <= SETTLED * value).all()):
            break
    return value * MARGIN


@torch.no_grad()
def hutchinson_diagonal(normal: Callable[[Tensor], Tensor], like: Tensor, probes: int = 16) -> Tensor:
    """Estimate the diagonal of a Hermitian map by ``E conj(v) (N v)`` over random signs v.

    Unbiased; a pixel's error is that of the off-diagonal entries of its row, over √probes.

    Parameters
    ----------
    normal, like
        As of `power_iteration`.
    probes
        How many v.

    Returns
    -------
    Tensor
        Real, of the shape of ``like``.

    References
    ----------
    Bekas, Kokiopoulou, Saad, An estimator for the diagonal of a matrix, Appl. Numer. Math. 57, 2007.
    """
    total = torch.zeros_like(like.real)
    for number in range(probes):
        signs = _noise(like.real, number).sign().to(like.dtype)
        total += (signs * normal(signs)).real
    return total / probes


def _noise(like: Tensor, seed: int) -> Tensor:
    """Return the same noise whenever it is asked for."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, dtype=like.dtype, generator=generator).to(like.device)
