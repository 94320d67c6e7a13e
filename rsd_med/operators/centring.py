"""Centring without shifts: the centred transform as the plain one between two multiplications by phases."""

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=16)
def centring_phases(size: tuple[int, int], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the phases p and q with ``fft2c(x) = q * fft2(p * x)``.

    With h = n // 2 on an axis of n entries, the centred transform has the kernel exp(-2 pi i (l - h)(m - h) / n).
    Multiplied out, that is the plain kernel between p[l] = exp(2 pi i h l / n) and q[m] = p[m] exp(-2 pi i h^2 / n).
    On even axes every phase is exactly +1 or -1.

    Parameters
    ----------
    size
        ``(y, x)``.
    dtype
        complex64 or complex128.
    device
        Where the phases are needed.

    Returns
    -------
    tuple[Tensor, Tensor]
        p and q ``(y, x)``; shared by all callers, so not to be changed.
    """
    # A tensor made in inference mode could not be used in a later backward.
    with torch.inference_mode(False):
        image, spectrum = torch.ones(1, dtype=torch.complex128), torch.ones(1, dtype=torch.complex128)
        for axis, n in enumerate(size):
            shape = (-1, 1) if axis == 0 else (1, -1)
            h = n // 2
            image = image * _roots(h * torch.arange(n), n).reshape(shape)
            spectrum = spectrum * _roots(h * torch.arange(n) - h * h, n).reshape(shape)
        return image.to(device, dtype), spectrum.to(device, dtype)


def are_signs(size: tuple[int, int]) -> bool:
    """Say whether all phases of a size ``(y, x)`` are +1 or -1; known without asking a GPU for the numbers."""
    return all(n == 1 or n % 2 == 0 for n in size)


def _roots(exponents: Tensor, n: int) -> Tensor:
    """Return exp(2 pi i exponents / n), exact where it is +1 or -1."""
    exponents = exponents % n
    roots = torch.polar(torch.ones(len(exponents), dtype=torch.float64), 2 * math.pi * exponents.double() / n)
    roots[exponents == 0] = 1
    roots[2 * exponents == n] = -1
    return roots
