"""What every clean picture is known to keep to: nothing is darker than black, nothing brighter than white."""

from typing import Any

import torch
from torch import Tensor

BLACK, WHITE = -1.0, 1.0
"""As every reader of real pictures hands them over."""

_COMPLEX_CHANNELS = 2


class _Clip(torch.autograd.Function):
    """Clip; gradients pass unless a step against them would lead further out.

    The plain derivative of clipping is 0 outside, where a pixel that ought to be grey would stay for good.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        ctx.save_for_backward(images)
        return images.clamp(BLACK, WHITE)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (images,) = ctx.saved_tensors
        (gradient,) = gradients
        outwards = ((images > WHITE) & (gradient < 0)) | ((images < BLACK) & (gradient > 0))
        return gradient.masked_fill(outwards, 0)


def clip_to_range(images: Tensor) -> Tensor:
    """Set what is darker than black, or brighter than white, to it.

    Corrupted pictures say less about a clean one than they seem to: half the resolution leaves three of four dimensions
    open. On a black ground this bound closes them: pixels whose mean is black and of which none is darker are black.

    Parameters
    ----------
    images
        In channels, ``(b, 1 or 3, y, x)`` float32; complex images, ``(b, 2, y, x)``, know no bounds and pass.

    Returns
    -------
    Tensor
        Of the same shape. Gradient descent may lead a pixel back from outside, not further out.
    """
    if images.shape[1] == _COMPLEX_CHANNELS:
        return images
    clipped: Tensor = _Clip.apply(images)
    return clipped
