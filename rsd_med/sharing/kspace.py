"""``Ã^H Ã`` of a multi-coil scan in real numbers and matrix products, which every format of networks can hold."""

import math

import torch
from torch import Tensor

Complex = tuple[Tensor, Tensor]
"""Real and imaginary part."""


def masked_in_kspace(x: Tensor, mask: Tensor, coil_maps: Tensor) -> Tensor:
    """Return what a masked scan leaves of an image: ``Σ_c conj(S_c) F^H M F S_c x``.

    Parameters
    ----------
    x
        Images, ``(b, 2, y, x)`` float32: real and imaginary part.
    mask
        1 where k-space is sampled, ``(b, 1, y, x)`` float32, centred order.
    coil_maps
        S, ``(b, 2, coil, y, x)`` float32: real and imaginary part.

    Returns
    -------
    Tensor
        ``(b, 2, y, x)`` float32.
    """
    maps = coil_maps[:, 0], coil_maps[:, 1]
    rows, columns = _centred_fourier(x.shape[-2], x), _centred_fourier(x.shape[-1], x)
    kspace = _product(_product(rows, _times((x[:, :1], x[:, 1:]), maps)), columns)
    sampled = kspace[0] * mask, kspace[1] * mask
    images = _product(_product(_conjugate(rows), sampled), _conjugate(columns))
    real, imaginary = _times(images, _conjugate(maps))
    return torch.stack([real.sum(1), imaginary.sum(1)], dim=1)


def _centred_fourier(size: int, like: Tensor) -> Complex:
    """Return the centred orthonormal transform of one axis as a symmetric matrix ``(size, size)``.

    Whole numbers are multiplied and reduced before they become angles, so that float32 loses nothing on long axes.
    """
    place = torch.arange(size, device=like.device) - size // 2
    angle = (2 * math.pi / size) * torch.remainder(place[:, None] * place[None, :], size).to(like.dtype)
    return angle.cos() / size**0.5, -angle.sin() / size**0.5


def _product(a: Complex, b: Complex) -> Complex:
    return a[0] @ b[0] - a[1] @ b[1], a[0] @ b[1] + a[1] @ b[0]


def _times(a: Complex, b: Complex) -> Complex:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _conjugate(a: Complex) -> Complex:
    return a[0], -a[1]
