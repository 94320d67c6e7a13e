"""An orthonormal wavelet transform of images in torch: Daubechies' filters, periodic edges, batched."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

WaveletName = Literal["haar", "db2", "db4"]


@dataclass(frozen=True)
class Wavelet:
    """The transform W of ``(..., y, x)`` images whose sides are divisible by ``2^levels``; ``W^H W = 1``.

    The coefficients keep the image's shape: the coarse image in the corner, details around it (Mallat's layout).

    Attributes
    ----------
    name
        Daubechies family, by PyWavelets' names.
    levels
        How often the coarse image is split again.
    """

    name: WaveletName = "db4"
    levels: int = 3

    @cached_property
    def filters(self) -> Tensor:
        """Low-pass and high-pass decomposition filter, ``(2, taps)`` float32."""
        import pywt

        wavelet = pywt.Wavelet(self.name)
        return torch.tensor([wavelet.dec_lo, wavelet.dec_hi], dtype=torch.float32)

    def forward(self, image: Tensor) -> Tensor:
        """Decompose ``(..., y, x)``, real or complex."""
        out = image.clone()
        height, width = image.shape[-2:]
        for level in range(self.levels):
            corner = (..., slice(height >> level), slice(width >> level))
            out[corner] = self._split(self._split(out[corner]).mT).mT
        return out

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Recompose what `forward` decomposed."""
        out = coefficients.clone()
        height, width = coefficients.shape[-2:]
        for level in reversed(range(self.levels)):
            corner = (..., slice(height >> level), slice(width >> level))
            out[corner] = self._join(self._join(out[corner].mT).mT)
        return out

    def _split(self, signal: Tensor) -> Tensor:
        """Filter along the last axis and keep every second value: low pass first, then high pass."""
        filters = self.filters.to(signal.device)
        length, taps = signal.shape[-1], filters.shape[-1]
        # PyWavelets' "periodization": output k is the sum over j of filter[j] signal[2k + taps/2 - j].
        index = 2 * torch.arange(length // 2)[:, None] + taps // 2 - torch.arange(taps)[None, :]
        gathered = signal[..., (index % length).to(signal.device)]
        return torch.cat([(gathered * filters[band]).sum(-1) for band in (0, 1)], dim=-1)

    def _join(self, bands: Tensor) -> Tensor:
        """Undo `_split` by its adjoint, which is its inverse."""
        filters = self.filters.to(bands.device)
        length, taps = bands.shape[-1], filters.shape[-1]
        index = (2 * torch.arange(length // 2)[:, None] + taps // 2 - torch.arange(taps)[None, :]) % length
        low, high = bands[..., : length // 2, None], bands[..., length // 2 :, None]
        spread = (low * filters[0] + high * filters[1]).flatten(-2)
        out = torch.zeros_like(bands)
        return out.index_add_(bands.ndim - 1, index.flatten().to(bands.device), spread)


def fitting_levels(height: int, width: int, most: int) -> int:
    """Return how many levels an image can be split, at most ``wanted``; sides stay at least 8 (the filter's length)."""
    levels = 0
    while levels < most and min(height, width) >> (levels + 1) >= 8:
        levels += 1
    return levels


def soft_threshold(values: Tensor, threshold: float) -> Tensor:
    """Shrink magnitudes by ``threshold``, keeping signs or phases: the proximal map of ``threshold ‖·‖₁``."""
    magnitude = values.abs()
    return values * ((magnitude - threshold).clamp_min(0) / magnitude.clamp_min(1e-30))
