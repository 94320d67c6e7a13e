"""Gaussian noise, real or complex."""

import torch
from torch import Tensor

from rsd_med.base.draws import Draws


def complex_or_real_noise(like: Tensor, sigma: float | Tensor, draws: Draws) -> Tensor:
    """Draw white Gaussian noise of standard deviation sigma *per real component*.

    Real noise has variance sigma^2; complex noise has variance sigma^2 in the real and in the imaginary part,
    2 sigma^2 together.

    Parameters
    ----------
    like
        Gives shape ``(b, ...)``, dtype and device.
    sigma
        A number, or one per item ``(b,)``; in the units of ``like``.
    draws
        The source of randomness; the draw happens on its device, so that it does not depend on that of ``like``.

    Returns
    -------
    Tensor
        Noise of the shape, dtype and device of ``like``.

    Raises
    ------
    ValueError
        If a number is negative or a tensor does not have one sigma per item.
    """
    if isinstance(sigma, Tensor):
        if sigma.ndim > 1 or (sigma.ndim == 1 and (like.ndim == 0 or len(sigma) != len(like))):
            raise ValueError(
                f"Noise levels of shape {tuple(sigma.shape)} do not fit a batch of shape {tuple(like.shape)}."
            )
        sigma = sigma.to(like.device, like.real.dtype).reshape(-1, *([1] * (like.ndim - 1)))
    elif not sigma >= 0:
        raise ValueError(f"A noise standard deviation is at least 0, not {sigma}.")
    shape = (*like.shape, 2) if like.is_complex() else tuple(like.shape)
    noise = draws.normal(*shape, dtype=like.real.dtype)
    if like.is_complex():
        noise = torch.view_as_complex(noise)
    return noise.to(like.device) * sigma
