"""The centred transform to sampled k-space and back: of the whole plane, or along y of the sampled columns alone."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from rsd_med.operators.centring import are_signs
from rsd_med.operators.weights import KSpaceWeights

FEW_COLUMNS = 0.6
"""Up to this part of the columns, taking them out and putting them back costs less than transforming all."""


class SampledFourier(ABC):
    """M q F and its adjoint, where M is a mask and q F the centred transform of images times p (`centring_phases`).

    The items of a large batch are taken tile by tile. The plain transforms are not scaled: q carries the scale of the
    orthonormal one, since scaling takes a tenth to a third of a transform's own time.
    """

    @abstractmethod
    def write(self, images: Tensor, kspace: Tensor, items: slice) -> None:
        """Write M q F of images ``(*batch, coil, y, x)`` of some items into k-space of that shape."""

    @abstractmethod
    def conjugate_images(self, kspace: Tensor, items: slice) -> Tensor:
        """Return F(q M conj(k)), the conjugate of F^H (conj(q) M k), of k-space ``(*batch, coil, y, x)`` of some items.

        What M leaves out is not multiplied by zero but never looked at, so that not even NaN leaks through.
        """


def sampled_fourier(mask: Tensor, phase: Tensor) -> SampledFourier:
    """Return the faster way for a mask.

    Few columns are transformed along y for themselves, but not on a graphics card, which would have to wait for
    their number.

    Parameters
    ----------
    mask
        Boolean ``(*batch, 1, y or 1, x)`` in centred order.
    phase
        q ``(y, x)``, complex64 or complex128.
    """
    height, width = phase.shape
    phase = phase / math.sqrt(phase.numel())
    if are_signs((height, width)):
        phase = phase.real
    if mask.shape[-2] == 1 and mask.device.type == "cpu":
        most = int(mask.sum(dim=-1).max())
        if 0 < most <= FEW_COLUMNS * mask.shape[-1]:
            return _Columns(mask, phase, most)
    return _Plane(mask, phase)


class _Plane(SampledFourier):
    """The whole plane is transformed."""

    def __init__(self, mask: Tensor, phase: Tensor) -> None:
        self.unsampled = ~mask
        # On an even axis the phases alternate: two rows say it all.
        repeats = mask.shape[-2] == 1 and phase.shape[-2] % 2 == 0
        self.weights = KSpaceWeights(mask * (phase[:2] if repeats else phase))

    def write(self, images: Tensor, kspace: Tensor, items: slice) -> None:
        kspace.copy_(self.weights.multiply_(torch.fft.fft2(images), items))

    def conjugate_images(self, kspace: Tensor, items: slice) -> Tensor:
        sampled = kspace.masked_fill(self.unsampled[items], 0)
        return torch.fft.fft2(self.weights.multiply_(sampled, items, conjugate=True))


class _Columns(SampledFourier):
    """Along y, only the n sampled columns of a line mask are transformed.

    Items may differ in the number of their columns. Those with fewer get some of their unsampled ones as well, with
    the weight zero.
    """

    def __init__(self, mask: Tensor, phase: Tensor, most: int) -> None:
        counts = mask.sum(dim=-1, keepdim=True)
        # A stable sort: the sampled columns first, each kind in ascending order.
        self.index = torch.argsort(mask.to(torch.uint8), dim=-1, descending=True, stable=True)[..., :most]
        surplus = torch.arange(most) >= counts
        self.surplus = surplus if bool(surplus.any()) else None
        rows = phase[:2] if phase.shape[-2] % 2 == 0 else phase
        shape = (*self.index.shape[:-2], len(rows))
        columns = torch.gather(rows.expand(*shape, -1), -1, self.index.expand(*shape, -1))
        self.weights = KSpaceWeights(columns.masked_fill(surplus, 0))

    def write(self, images: Tensor, kspace: Tensor, items: slice) -> None:
        index = self._index(images, items)
        columns = torch.fft.fft(torch.gather(torch.fft.fft(images), -1, index), dim=-2)
        # In memory, the transform leaves y before the columns: the next two steps would crawl.
        kspace.copy_(_spread(self.weights.multiply_(columns.contiguous(), items), index, kspace))

    def conjugate_images(self, kspace: Tensor, items: slice) -> Tensor:
        index = self._index(kspace, items)
        columns = torch.gather(kspace, -1, index)
        if self.surplus is not None:
            columns.masked_fill_(self.surplus[items], 0)
        columns = torch.fft.fft(self.weights.multiply_(columns, items, conjugate=True), dim=-2)
        return torch.fft.fft(_spread(columns, index, kspace))

    def _index(self, data: Tensor, items: slice) -> Tensor:
        return self.index[items].expand(*data.shape[:-1], -1)


def _spread(columns: Tensor, index: Tensor, kspace: Tensor) -> Tensor:
    """Return k-space of the given one's shape with these columns, and zero elsewhere."""
    # Not scatter_ into zeros, which vmap does not know: the same two passes.
    return torch.scatter(kspace.new_zeros(()).expand(kspace.shape), -1, index, columns)
