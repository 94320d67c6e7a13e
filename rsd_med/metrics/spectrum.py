"""The radial power spectrum: how much structure of each size a set of images has, against that of real ones.

Grain has too much power at high frequencies, blur too little; a grid shows in the corners of k-space.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.operators.channels import to_complex

RINGS = 16
"""Rings from frequency zero to Nyquist, or as many as a small image has: enough to see where power is missing."""

UP_TO = 0.9
"""In units of Nyquist: further out, real images hold next to nothing, and resampling decides about the rest."""

GREY_LEVELS = 255
"""Both spectra get the power of rounding to so many levels: what no picture could show does not count."""

AT_ONCE = 256


@dataclass(frozen=True)
class Spectrum:
    """Mean power by distance from the centre of k-space.

    Attributes
    ----------
    frequencies
        Of each ring, in units of Nyquist along an axis; the corners of k-space lie at 1.41. Frequency zero, the mean
        brightness, is left out.
    power
        Mean squared magnitude of the orthonormal Fourier coefficients in the ring, in squared units of the images.
    """

    frequencies: tuple[float, ...]
    power: tuple[float, ...]

    def over(self, reference: "Spectrum") -> tuple[float, ...]:
        """Return the power as a multiple of the reference's, ring by ring.

        Raises
        ------
        DataError
            If the rings differ, because the images have different sizes.
        """
        if self.frequencies != reference.frequencies:
            raise DataError("spectra of images of different sizes cannot be compared; crop or resample both alike")
        return tuple(own / other for own, other in zip(self.power, reference.power, strict=True))


def radial_spectrum(images: Tensor) -> Spectrum:
    """Return the radial power spectrum of a set of images, and the power of rounding to 255 grey levels.

    Parameters
    ----------
    images
        ``(N, channels, y, x)``: two channels are (real, imaginary), and their complex image is looked at, phase
        included; one or three are a natural image in [-1, 1], whose channels are averaged over.

    Returns
    -------
    Spectrum
        In 16 rings up to Nyquist, fewer for images of less than 32 pixels, and those of the corners.
    """
    pixels = to_complex(images) if images.shape[1] == 2 else images
    values_range = 1.0 if images.shape[1] == 2 else 2.0
    total = torch.zeros(images.shape[-2:], dtype=torch.float64)
    for batch in pixels.split(AT_ONCE):
        coefficients = torch.fft.fft2(batch, norm="ortho")
        total += coefficients.abs().square().double().mean(1).sum(0).cpu()
    power = total / len(images)
    rows, columns = ((2 * torch.fft.fftfreq(side, dtype=torch.float64)).square() for side in images.shape[-2:])
    rings = max(1, min(RINGS, min(images.shape[-2:]) // 2))
    ring = ((rows[:, None] + columns).sqrt() * rings).round().long().flatten()
    count = torch.bincount(ring)
    mean = torch.zeros(len(count), dtype=torch.float64).index_add_(0, ring, power.flatten()) / count
    rounding = (values_range / GREY_LEVELS) ** 2 / 12
    shown = [number for number in range(1, len(count)) if count[number]]
    return Spectrum(
        frequencies=tuple(number / rings for number in shown),
        power=tuple(float(mean[number]) + rounding for number in shown),
    )


def worst_ratio(frequencies: tuple[float, ...], ratios: tuple[float, ...]) -> tuple[float, float]:
    """Return where up to 0.9 of Nyquist a ratio of powers is farthest from 1, and that ratio.

    Parameters
    ----------
    frequencies, ratios
        Of `Spectrum.over`; at least one frequency is below 0.9.

    Returns
    -------
    tuple[float, float]
        Frequency in units of Nyquist, and ratio.
    """
    inside = [(where, ratio) for where, ratio in zip(frequencies, ratios, strict=True) if where <= UP_TO]
    return max(inside, key=lambda item: abs(item[1] - 1) if math.isfinite(item[1]) else math.inf)
