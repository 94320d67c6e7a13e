"""The network's edge: the one place where complex images become real channels and back."""

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor


def to_channels(x: Inexact[Tensor, "b c y x"]) -> Float[Tensor, "b channels y x"]:
    """View complex images as two real channels; real images pass.

    Parameters
    ----------
    x
        Complex images ``(b, 1, y, x)``, or real images ``(b, channels, y, x)``.

    Returns
    -------
    Tensor
        ``(b, 2, y, x)`` (real part, imaginary part) of the matching real dtype; a real ``x`` as it is.

    Raises
    ------
    ValueError
        If complex images have more than one channel.
    """
    if not x.is_complex():
        return x
    if x.ndim != 4 or x.shape[1] != 1:
        raise ValueError(f"Complex images have the shape (b, 1, y, x), not {tuple(x.shape)}.")
    return torch.cat((x.real, x.imag), dim=1)


def to_complex(x: Tensor) -> Complex[Tensor, "b 1 y x"]:
    """Join two real channels to complex images: the inverse of `to_channels`.

    Parameters
    ----------
    x
        ``(b, 2, y, x)`` (real part, imaginary part), float32 or float64.

    Returns
    -------
    Tensor
        Complex images ``(b, 1, y, x)``.

    Raises
    ------
    ValueError
        If ``x`` is complex already or has not two channels.
    """
    if x.is_complex() or x.ndim != 4 or x.shape[1] != 2:
        raise ValueError(f"Two real channels (b, 2, y, x) are expected, not {x.dtype} of shape {tuple(x.shape)}.")
    return torch.complex(x[:, :1], x[:, 1:])
