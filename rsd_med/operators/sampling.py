"""Sampling: keep the entries that were measured, set the others to zero."""

from typing import ClassVar

import torch
from jaxtyping import Inexact
from torch import Tensor

from rsd_med.operators.linear import LinearOperator


def require_mask(mask: Tensor) -> None:
    """Refuse a mask that is not boolean or has not the shape ``(*batch, 1, y or 1, x)``.

    Raises
    ------
    ValueError
        If so.
    """
    if mask.dtype != torch.bool or mask.ndim < 3 or mask.shape[-3] != 1:
        raise ValueError(
            f"A sampling mask is boolean of shape (*batch, 1, 1, x) or (*batch, 1, y, x), "
            f"not {mask.dtype} of shape {tuple(mask.shape)}."
        )


class SamplingMask(LinearOperator):
    """Keep the sampled entries: a projection, in k-space or in image space.

    Entries outside the mask become exactly zero whatever they held, NaN included, so that nothing unmeasured
    can leak through.

    Parameters
    ----------
    mask
        Boolean ``(*batch, 1, 1, x)``, or ``(*batch, 1, y, x)`` for 2-D patterns, True where measured;
        k-space in centred order.

    Raises
    ------
    ValueError
        If the mask is not boolean or has another shape.
    """

    item_tensors: ClassVar[dict[str, int]] = {"mask": 3}

    def __init__(self, mask: Tensor) -> None:
        require_mask(mask)
        self.mask = mask

    def forward(self, x: Inexact[Tensor, "*b c y x"]) -> Inexact[Tensor, "*b c y x"]:
        """Zero what is not sampled, in data ``(*batch, channel, y, x)``."""
        aligned = x.shape[x.ndim - self.mask.ndim :] if x.ndim >= self.mask.ndim else ()
        if not aligned or any(m not in (1, n) for m, n in zip(self.mask.shape, aligned, strict=True)):
            raise ValueError(
                f"Data of shape {tuple(x.shape)} do not fit a sampling mask of shape {tuple(self.mask.shape)}."
            )
        return x.masked_fill(~self.mask, 0)

    def adjoint(self, y: Inexact[Tensor, "*b c y x"]) -> Inexact[Tensor, "*b c y x"]:
        """Zero what is not sampled: a projection is its own adjoint."""
        return self.forward(y)

    def apply_normal(self, x: Tensor) -> Tensor:
        """Zero what is not sampled: a projection applied twice is itself."""
        return self.forward(x)

    def entries(self, data: Tensor) -> Tensor:
        """Return the mask."""
        return self.mask

    def support(self) -> Tensor:
        """Return the mask."""
        return self.mask

    def normal_diagonal(self, image: Tensor) -> Tensor:
        """Return 1 where measured."""
        return self.mask.to(image.real.dtype)

    def largest_eigenvalue(self, image: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones(len(image), dtype=image.real.dtype, device=image.device)
