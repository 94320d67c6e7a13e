"""The centred orthonormal Fourier transform over (y, x)."""

import torch
from jaxtyping import Complex, Inexact
from torch import Tensor

from rsd_med.operators.linear import LinearOperator

_PLANE = (-2, -1)


def fft2c(x: Inexact[Tensor, "*b y x"]) -> Complex[Tensor, "*b y x"]:
    """Transform images to k-space, centred and orthonormal.

    Image centre and zero frequency both lie at index ``n // 2``. Equal to the last bit to fastMRI's ``fft2c``
    (ifftshift, FFT with ``norm="ortho"``, fftshift), for odd sizes too.

    Parameters
    ----------
    x
        Images ``(..., y, x)``, complex64 or complex128.

    Returns
    -------
    Tensor
        K-space of the same shape and dtype.
    """
    return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(x, dim=_PLANE), norm="ortho"), dim=_PLANE)


def ifft2c(k: Inexact[Tensor, "*b y x"]) -> Complex[Tensor, "*b y x"]:
    """Transform k-space to images: the inverse, and the adjoint, of `fft2c`.

    Parameters
    ----------
    k
        K-space ``(..., y, x)``, complex64 or complex128.

    Returns
    -------
    Tensor
        Images of the same shape and dtype.
    """
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(k, dim=_PLANE), norm="ortho"), dim=_PLANE)


class CentredFourier(LinearOperator):
    """The centred orthonormal Fourier transform over (y, x) as an operator; unitary."""

    complex_domain = True

    def forward(self, x: Inexact[Tensor, "*b y x"]) -> Complex[Tensor, "*b y x"]:
        """Transform images ``(..., y, x)`` to k-space."""
        return fft2c(x)

    def adjoint(self, y: Inexact[Tensor, "*b y x"]) -> Complex[Tensor, "*b y x"]:
        """Transform k-space ``(..., y, x)`` to images."""
        return ifft2c(y)

    def apply_normal(self, x: Tensor) -> Tensor:
        """Return a copy of ``x``: the transform is unitary."""
        return x.clone()

    def normal_diagonal(self, image: Tensor) -> Tensor:
        """Return ones."""
        return torch.ones(1, 1, 1, 1, dtype=image.real.dtype, device=image.device)

    def largest_eigenvalue(self, image: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones(len(image), dtype=image.real.dtype, device=image.device)
