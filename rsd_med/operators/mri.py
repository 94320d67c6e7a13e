"""Multi-coil MRI: coil sensitivities, Fourier transform, sampling."""

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import ClassVar, Self

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from rsd_med.operators.centring import centring_phases
from rsd_med.operators.coil_power import coil_power, largest
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.sampled_fourier import SampledFourier, sampled_fourier
from rsd_med.operators.sampling import require_mask
from rsd_med.operators.tiles import tiles
from rsd_med.operators.weights import KSpaceWeights


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

    @property
    def domain(self) -> tuple[int, ...]:
        """The image: ``(1, y, x)``."""
        return (1, *self.maps.shape[-2:])

    @property
    def codomain(self) -> tuple[int, ...]:
        """The coil images: ``(coil, y, x)``."""
        return tuple(self.maps.shape[-3:])

    @property
    def coil_maps(self) -> Complex[Tensor, "*b coil y x"]:
        """The maps."""
        return self.maps

    def support(self) -> Bool[Tensor, "*b 1 y x"]:
        """Return where any coil sees the image, bool ``(*batch, 1, y, x)``: Σ_c |S_c|² > 0."""
        return (self.maps != 0).any(-3, keepdim=True)

    def normal_diagonal(self, image: Tensor) -> Tensor:
        """Return Σ_c |S_c|²; S^H S is diagonal."""
        return coil_power(self.maps)

    def largest_eigenvalue(self, image: Tensor) -> Tensor:
        """Return the largest Σ_c |S_c|²: 1 for normalised maps."""
        return largest(coil_power(self.maps), image)

    def forward(self, x: Complex[Tensor, "*b _ y x"]) -> Complex[Tensor, "*b coil y x"]:
        """Weight images ``(*batch, 1, y, x)`` to coil images ``(*batch, coil, y, x)``."""
        _require_shape("Images", x, self.maps, 1, self.maps.shape[:-3])
        return self.maps * x

    def adjoint(self, y: Complex[Tensor, "*b _ y x"]) -> Complex[Tensor, "*b 1 y x"]:
        """Combine coil images ``(*batch, coil, y, x)`` to images ``(*batch, 1, y, x)``."""
        _require_shape("Coil images", y, self.maps, self.maps.shape[-3], self.maps.shape[:-3])
        return _combine(self.maps, y)


class MultiCoilFourier(LinearOperator):
    """The undersampled multi-coil scan M F S: ``SamplingMask(mask) @ CentredFourier() @ CoilMaps(maps)``.

    :class:`~rsd_med.operators.soft_sense.SoftSense` is the same with several maps of each coil.

    Maps images ``(*batch, 1, y, x)`` to k-space ``(*batch, coil, y, x)``, zero where not sampled.
    A single coil is one coil map of ones. Mask and maps may each lack the batch dimension the other has.

    No call shifts anything: centring is absorbed in phases of the image and in the weights that carry the mask
    (`centring_phases`), made once. Large data pass through the cache in tiles of items, and of coils or rows.
    docs/operators.md derives and measures.

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
            raise ValueError(
                f"A mask of shape {tuple(mask.shape)} does not fit coil maps of shape {tuple(maps.shape)}."
            )
        own = self.item_tensors["maps"]
        try:
            batch = torch.broadcast_shapes(mask.shape[:-3], maps.shape[:-own])
        except RuntimeError as error:
            raise ValueError(
                f"The batches of a mask {tuple(mask.shape)} and of coil maps {tuple(maps.shape)} differ."
            ) from error
        # Both carry the whole batch (as views, without memory), so that selecting items selects in both.
        self.mask = mask.expand(*batch, *mask.shape[-3:])
        self.maps = maps.expand(*batch, *maps.shape[-own:])
        # Made when first needed, for each dtype of the data.
        self._transforms: dict[torch.dtype, SampledFourier] = {}
        self._weights: dict[torch.dtype, KSpaceWeights] = {}
        self._centring: dict[torch.dtype, tuple[Tensor, Tensor]] = {}

    @property
    def domain(self) -> tuple[int, ...]:
        """The image: ``(1, y, x)``."""
        return (self.sets, *self.maps.shape[-2:])

    @property
    def codomain(self) -> tuple[int, ...]:
        """K-space: ``(coil, y, x)``."""
        return tuple(self.maps.shape[-3:])

    @property
    def coil_maps(self) -> Complex[Tensor, "*b coil y x"]:
        """The maps."""
        return self.maps

    def with_mask(self, mask: Tensor) -> Self:
        """Return the scan by the same coils under another mask."""
        return type(self)(mask, self.maps)

    def apart(self) -> "MultiCoilFourier":
        """Return the scans of each set of maps alone, as items of one batch: with one set, this very scan."""
        return self

    def first_set(self) -> "MultiCoilFourier":
        """Return the scan by the first set of maps alone, which describes most of the signal."""
        return self

    def entries(self, data: Tensor) -> Tensor:
        """Return the mask."""
        return self.mask

    def frequencies(self, data: Tensor) -> Float[Tensor, "y x 2"]:
        """Return where the cells of k-space lie, ``(y, x, 2)``: from -1 to 1 along each axis."""
        axes = [(torch.arange(n, device=data.device) - n // 2) / (n / 2) for n in self.maps.shape[-2:]]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)

    def restricted(self, data: Tensor, chosen: Bool[Tensor, "*b 1 y x"]) -> tuple["MultiCoilFourier", Tensor]:
        """Return the scan of the chosen cells, a mask ``(*batch, 1, 1 or y, x)``, and its data."""
        return type(self)(self.mask & chosen, self.maps), data.masked_fill(~chosen, 0)

    def strip(self, data: Complex[Tensor, "*b coil y x"], rows: slice) -> tuple["MultiCoilFourier", Tensor]:
        """Return the scan of some rows of the image alone, and its data.

        A mask of columns leaves the transform along y whole. So every row of the image is measured for itself: k-space
        is transformed back along y, cut, and transformed again. The noise stays white, with the same σ.

        Parameters
        ----------
        data
            K-space of the whole image.
        rows
            Which; neighbours.

        Raises
        ------
        ValueError
            If the mask is none of columns.
        """
        if self.mask.shape[-2] != 1:
            raise ValueError("Rows of an image are measured apart where the mask is constant along y alone.")
        lines = torch.fft.fftshift(torch.fft.ifft(torch.fft.ifftshift(data, -2), dim=-2, norm="ortho"), -2)
        cut = torch.fft.ifftshift(lines[..., rows, :], -2)
        return (
            type(self)(self.mask, self.maps[..., rows, :]),
            torch.fft.fftshift(torch.fft.fft(cut, dim=-2, norm="ortho"), -2),
        )

    def support(self) -> Bool[Tensor, "*b 1 y x"]:
        """Return where any coil sees the image, bool ``(*batch, 1, y, x)``: Σ_c |S_c|² > 0."""
        return (self.maps != 0).any(-3, keepdim=True)

    def normal_diagonal(self, image: Tensor) -> Tensor:
        """Return the sampled share of k-space, which is the diagonal of F^H M F everywhere, times Σ_c |S_c|²."""
        return self.mask.to(image.real.dtype).mean((-2, -1), keepdim=True) * coil_power(self.maps)

    def largest_eigenvalue(self, image: Tensor) -> Tensor:
        """Return the largest Σ_c |S_c|², 1 for normalised maps: a mask and a unitary transform add nothing."""
        return largest(coil_power(self.maps), image)

    def forward(self, x: Complex[Tensor, "*b _ y x"]) -> Complex[Tensor, "*b coil y x"]:
        """Scan images ``(*batch, 1, y, x)`` to k-space ``(*batch, coil, y, x)`` of the same dtype."""
        self._require("Images", x, self.sets)
        phase, fourier = self._image_phase(x.dtype), self._fourier(x.dtype)
        kspace = x.new_empty(*x.shape[:-3], *self.maps.shape[-3:])
        for items in self._item_tiles():
            image, maps, target = x[items] * phase, self.maps[items], kspace[items]
            for coils in tiles(target.shape[-3], target.numel(), x.device):
                fourier.write(self._spread(maps[..., coils, :, :], image), target[..., coils, :, :], items)
        return kspace

    def adjoint(self, y: Complex[Tensor, "*b _ y x"]) -> Complex[Tensor, "*b set y x"]:
        """Zero-filled, coil-combined image ``(*batch, 1, y, x)`` of k-space ``(*batch, coil, y, x)``.

        Computed as the conjugate of p sum_c S_c F (q M conj(y)), so that the maps need no conjugation, and that of
        k-space is part of the multiplication by q.
        """
        self._require("K-space", y, self.maps.shape[-3])
        phase, fourier = self._image_phase(y.dtype), self._fourier(y.dtype)
        image = y.new_empty(*y.shape[:-3], self.sets, *y.shape[-2:])
        for items in self._item_tiles():
            maps, data = self.maps[items], y[items]
            total = _sum(
                self._gather(maps[..., coils, :, :], fourier.conjugate_images(data[..., coils, :, :], items))
                for coils in tiles(data.shape[-3], data.numel(), y.device)
            )
            image[items] = total.mul_(phase).conj()
        return image

    def apply_normal(self, x: Complex[Tensor, "*b set y x"]) -> Complex[Tensor, "*b set y x"]:
        """Compute A^H A x ``(*batch, 1, y, x)`` without a shift, and for line masks without transforms along y.

        F^H M F is a circular convolution. It commutes with the shifts of the centred transform, which cancel; and
        where the mask is constant along y, so do the transforms along y. Then no row needs another, and a tile of
        rows passes through every step while it is in the cache. Conjugation as in `adjoint`.
        """
        self._require("Images", x, self.sets)
        weights = self._uncentred_weights(x.dtype)
        result = torch.empty_like(x)
        for items in self._item_tiles():
            image, maps, target = x[items], self.maps[items], result[items]
            entries = image.numel() // self.sets * maps.shape[-3]
            if self.mask.shape[-2] == 1:
                for rows in tiles(x.shape[-2], entries, x.device):
                    spectrum = torch.fft.fft(self._spread(maps[..., rows, :], image[..., rows, :]))
                    filtered = torch.fft.fft(weights.multiply_(spectrum, items, conjugate=True))
                    target[..., rows, :] = self._gather(maps[..., rows, :], filtered).conj()
            else:
                parts = []
                for coils in tiles(maps.shape[-3], entries, x.device):
                    spectrum = torch.fft.fft2(self._spread(maps[..., coils, :, :], image))
                    filtered = torch.fft.fft2(weights.multiply_(spectrum, items, conjugate=True))
                    parts.append(self._gather(maps[..., coils, :, :], filtered))
                target.copy_(_sum(parts).conj())
        return result

    def _spread(self, maps: Tensor, image: Tensor) -> Tensor:
        """Return the coil images of some coils, rows and items."""
        return maps * image

    def _gather(self, maps: Tensor, coil_images: Tensor) -> Tensor:
        """Return sum_c S_c x_c; the coil images may be overwritten."""
        products = coil_images.mul_(maps)
        return products if products.shape[-3] == 1 else products.sum(dim=-3, keepdim=True)

    def _require(self, what: str, data: Tensor, channels: int) -> None:
        _require_shape(what, data, self.maps, channels, self.maps.shape[: -self.item_tensors["maps"]])

    def _item_tiles(self) -> Iterator[slice]:
        """Cut the first dimension of the batch, which mask, maps and data share where they have one."""
        if self.maps.ndim > self.item_tensors["maps"]:
            return tiles(len(self.maps), self.maps.numel(), self.maps.device)
        return iter([slice(None)])

    def _image_phase(self, dtype: torch.dtype) -> Tensor:
        return self._phases(dtype)[0]

    def _phases(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        if dtype not in self._centring:
            y_size, x_size = self.maps.shape[-2:]
            self._centring[dtype] = centring_phases((y_size, x_size), dtype, self.maps.device)
        return self._centring[dtype]

    def _fourier(self, dtype: torch.dtype) -> SampledFourier:
        if dtype not in self._transforms:
            self._transforms[dtype] = sampled_fourier(self.mask, self._phases(dtype)[1])
        return self._transforms[dtype]

    def _uncentred_weights(self, dtype: torch.dtype) -> KSpaceWeights:
        if dtype not in self._weights:
            self._weights[dtype] = KSpaceWeights.uncentred(self.mask, dtype)
        return self._weights[dtype]


def _sum(parts: Iterable[Tensor]) -> Tensor:
    """Return the sum; the first part is overwritten."""
    return reduce(Tensor.add_, parts)


def _combine(maps: Tensor, coil_images: Tensor) -> Tensor:
    return (maps.conj() * coil_images).sum(dim=-3, keepdim=True)


def _require_maps(maps: Tensor) -> None:
    if not maps.is_complex() or maps.ndim < 3:
        raise ValueError(
            f"Coil maps are complex of shape (*batch, coil, y, x), not {maps.dtype} of shape {tuple(maps.shape)}."
        )


def _require_shape(what: str, data: Tensor, maps: Tensor, channels: int, batch: torch.Size) -> None:
    """Refuse data that only broadcasting would fit: an adjoint would silently have another shape."""
    expected = (*batch, channels, *maps.shape[-2:])
    shape = tuple(data.shape)
    if shape[-len(expected) :] != expected or (batch and len(shape) != len(expected)):
        raise ValueError(
            f"{what} of shape {shape} do not fit coil maps of shape {tuple(maps.shape)}: expected {expected}."
        )
