"""Multi-coil MRI: coil sensitivities, Fourier transform, sampling."""

from typing import ClassVar

import torch
from torch import Tensor

from rsd_med.operators.fourier import fft2c, ifft2c
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.sampling import require_mask


class CoilMaps(LinearOperator):
    """Weight an image by every coil's sensitivity: S x, with adjoint sum_c conj(S_c) x_c.

    Parameters
    ----------
    maps
        Complex sensitivities ``(*batch, coil, y, x)``, normalised so that sum_c |S_c|^2 is 1 in the support.

    Raises
    ------
    ValueError
        If the maps are not complex or have fewer than three dimensions.
    """

    complex_domain = True
    item_tensors: ClassVar[dict[str, int]] = {"maps": 3}

    def __init__(self, maps: Tensor) -> None:
        _require_maps(maps)
        self.maps = maps

    def forward(self, x: Tensor) -> Tensor:
        """Weight images ``(*batch, 1, y, x)`` to coil images ``(*batch, coil, y, x)``."""
        _require_shape("Images", x, self.maps, coils=1)
        return self.maps * x

    def adjoint(self, y: Tensor) -> Tensor:
        """Combine coil images ``(*batch, coil, y, x)`` to images ``(*batch, 1, y, x)``."""
        _require_shape("Coil images", y, self.maps, coils=self.maps.shape[-3])
        return _combine(self.maps, y)


class MultiCoilFourier(LinearOperator):
    """The undersampled multi-coil scan M F S: ``SamplingMask(mask) @ CentredFourier() @ CoilMaps(maps)``.

    Maps images ``(*batch, 1, y, x)`` to k-space ``(*batch, coil, y, x)``, zero where not sampled.
    A single coil is one coil map of ones. Mask and maps may each lack the batch dimension the other has.

    Parameters
    ----------
    mask
        Boolean ``(*batch, 1, 1, x)`` or ``(*batch, 1, y, x)``, centred order, True where sampled.
    maps
        Complex coil maps ``(*batch, coil, y, x)``.

    Raises
    ------
    ValueError
        If types or shapes of mask and maps do not fit.

    References
    ----------
    Pruessmann et al., SENSE: sensitivity encoding for fast MRI, Magn. Reson. Med. 42, 1999, eq. 1-3.
    """

    complex_domain = True
    item_tensors: ClassVar[dict[str, int]] = {"mask": 3, "maps": 3}

    def __init__(self, mask: Tensor, maps: Tensor) -> None:
        require_mask(mask)
        _require_maps(maps)
        if mask.shape[-1] != maps.shape[-1] or mask.shape[-2] not in (1, maps.shape[-2]):
            msg = f"A mask of shape {tuple(mask.shape)} does not fit coil maps of shape {tuple(maps.shape)}."
            raise ValueError(msg)
        try:
            batch = torch.broadcast_shapes(mask.shape[:-3], maps.shape[:-3])
        except RuntimeError as error:
            msg = f"The batches of a mask {tuple(mask.shape)} and of coil maps {tuple(maps.shape)} differ."
            raise ValueError(msg) from error
        # Both carry the whole batch (as views, without memory), so that selecting items selects in both.
        self.mask = mask.expand(*batch, *mask.shape[-3:])
        self.maps = maps.expand(*batch, *maps.shape[-3:])

    def forward(self, x: Tensor) -> Tensor:
        """Scan images ``(*batch, 1, y, x)`` to k-space ``(*batch, coil, y, x)``."""
        _require_shape("Images", x, self.maps, coils=1)
        return fft2c(self.maps * x).masked_fill_(~self.mask, 0)

    def adjoint(self, y: Tensor) -> Tensor:
        """Zero-filled, coil-combined image ``(*batch, 1, y, x)`` of k-space ``(*batch, coil, y, x)``."""
        _require_shape("K-space", y, self.maps, coils=self.maps.shape[-3])
        return _combine(self.maps, ifft2c(y.masked_fill(~self.mask, 0)))

    def apply_normal(self, x: Tensor) -> Tensor:
        """Compute A^H A x ``(*batch, 1, y, x)`` without a shift, and for line masks without transforms along y.

        F^H M F is a circular convolution. It commutes with the shifts of the centred transform, which cancel; and
        where the mask is constant along y, so do the transforms along y.
        """
        _require_shape("Images", x, self.maps, coils=1)
        axes = (-1,) if self.mask.shape[-2] == 1 else (-2, -1)
        unsampled = torch.fft.ifftshift(~self.mask, dim=axes)
        spectrum = torch.fft.fftn(self.maps * x, dim=axes, norm="ortho").masked_fill_(unsampled, 0)
        return _combine(self.maps, torch.fft.ifftn(spectrum, dim=axes, norm="ortho"))


def _combine(maps: Tensor, coil_images: Tensor) -> Tensor:
    return (maps.conj() * coil_images).sum(dim=-3, keepdim=True)


def _require_maps(maps: Tensor) -> None:
    if not maps.is_complex() or maps.ndim < 3:
        msg = f"Coil maps are complex of shape (*batch, coil, y, x), not {maps.dtype} of shape {tuple(maps.shape)}."
        raise ValueError(msg)


def _require_shape(what: str, data: Tensor, maps: Tensor, coils: int) -> None:
    """Refuse data that only broadcasting would fit: an adjoint would silently have another shape."""
    expected = (*maps.shape[:-3], coils, *maps.shape[-2:])
    found = tuple(data.shape)
    if found[-len(expected) :] != expected or (maps.ndim > 3 and len(found) != len(expected)):
        msg = f"{what} of shape {found} do not fit coil maps of shape {tuple(maps.shape)}: expected {expected}."
        raise ValueError(msg)
