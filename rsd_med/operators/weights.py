"""Multiply k-space by mask and centring phases, and conjugate it if needed, in one pass and in place."""

from functools import cached_property

import torch
from torch import Tensor


class KSpaceWeights:
    """One factor for each entry of k-space; the entry may be conjugated in the same pass.

    Real weights multiply the real and the imaginary parts as plain numbers, in which a conjugation is a sign: on a
    CPU that takes a quarter of the time of filling by a mask. Weights that repeat along y are kept once.

    Parameters
    ----------
    values
        ``(*batch, 1, rows, x)``, real or complex, where rows divides the y of k-space.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values

    @classmethod
    def uncentred(cls, mask: Tensor, dtype: torch.dtype) -> "KSpaceWeights":
        """Return the mask in the order of a transform without shifts, divided by its number of points.

        So two plain transforms around it have the scale of a pair that is orthonormal.

        Parameters
        ----------
        mask
            Boolean ``(*batch, 1, y or 1, x)`` in centred order.
        dtype
            complex64 or complex128.
        """
        axes = (-1,) if mask.shape[-2] == 1 else (-2, -1)
        return cls(torch.fft.ifftshift(mask, dim=axes).to(dtype.to_real()) / mask.shape[-2:].numel())

    def multiply_(self, kspace: Tensor, items: slice, *, conjugate: bool = False) -> Tensor:
        """Multiply k-space ``(*batch, coil, y, x)`` of some items in place, conjugated first if asked; return it."""
        if self.values.is_complex():
            if conjugate:
                torch.view_as_real(kspace)[..., 1].neg_()  # vmap does not know conj_physical_
            kspace.unflatten(-2, (-1, self.values.shape[-2])).mul_(self.values[items].unsqueeze(-3))
        else:
            parts = torch.view_as_real(kspace).unflatten(-3, (-1, self.values.shape[-2]))
            parts.mul_((self._conjugating if conjugate else self._plain)[items])
        return kspace

    @cached_property
    def _plain(self) -> Tensor:
        return torch.stack((self.values, self.values), dim=-1).unsqueeze(-4)

    @cached_property
    def _conjugating(self) -> Tensor:
        return torch.stack((self.values, -self.values), dim=-1).unsqueeze(-4)
