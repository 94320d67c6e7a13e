"""Fidelity of a reconstruction to its reference, as fastMRI defines it (Zbontar et al. 2018, arXiv:1811.08839, §6.1).

All take magnitude volumes ``(slice, y, x)``; peak and range are the maximum of the reference *volume*.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rsd_med.base.errors import DataError

WINDOW = 7


def _checked(reference: Tensor, reconstruction: Tensor, zero_allowed: bool = False) -> tuple[Tensor, Tensor]:
    """Return both as float64 volumes, or say why they cannot be compared."""
    if reference.shape != reconstruction.shape or reference.ndim != 3:
        raise DataError(
            f"reference {tuple(reference.shape)} and reconstruction {tuple(reconstruction.shape)} must be equal "
            "volumes (slice, y, x); crop both alike"
        )
    if reference.is_complex() or reconstruction.is_complex():
        raise DataError("image quality is measured on magnitudes, and these images are complex; take .abs() first")
    if not bool(torch.isfinite(reference).all() and torch.isfinite(reconstruction).all()):
        raise DataError("the reference or the reconstruction contains NaN or infinity")
    if not zero_allowed and not bool((reference != 0).any()):
        raise DataError("the reference volume is zero everywhere; image quality is not defined")
    return reference.detach().cpu().double(), reconstruction.detach().cpu().double()


def nmse(reference: Tensor, reconstruction: Tensor) -> float:
    """Return ``|reconstruction - reference|^2 / |reference|^2`` over the volume.

    Parameters
    ----------
    reference, reconstruction
        Real ``(slice, y, x)``, magnitudes in equal units.

    Raises
    ------
    DataError
        If the shapes differ, an image is complex or not finite, or the reference is zero.
    """
    x, y = _checked(reference, reconstruction)
    return float((y - x).square().sum() / x.square().sum())


def psnr(reference: Tensor, reconstruction: Tensor) -> float:
    """Return ``10 log10(max(reference)^2 / mean squared error)`` in dB over the volume; infinite for equal volumes.

    Parameters
    ----------
    reference, reconstruction
        Real ``(slice, y, x)``, magnitudes in equal units.

    Raises
    ------
    DataError
        If the shapes differ, an image is complex or not finite, or the reference is zero.
    """
    x, y = _checked(reference, reconstruction)
    return float(10.0 * torch.log10(x.max().square() / (y - x).square().mean()))


def ssim(reference: Tensor, reconstruction: Tensor) -> float:
    """Return the structural similarity, averaged over slices (Wang et al. 2004; 7x7 uniform window, K 0.01 and 0.03).

    Parameters
    ----------
    reference, reconstruction
        Real ``(slice, y, x)``, magnitudes in equal units, at least 7x7 pixels.

    Raises
    ------
    DataError
        If the shapes differ, an image is complex, not finite or below 7x7, or the reference is zero.
    """
    x, y = _checked(reference, reconstruction)
    values = [_slice_ssim(a, b, float(x.max())) for a, b in zip(x, y, strict=True)]
    return sum(values) / len(values)


@dataclass(frozen=True)
class Quality:
    """fastMRI's three figures of one volume."""

    nmse: float
    psnr: float
    ssim: float


def reconstructed_part(image: Tensor, part: tuple[int, int] | None) -> Tensor:
    """Return the part of an image that figures are over: fastMRI's ``center_crop`` to the reconstructed matrix.

    Parameters
    ----------
    image
        ``(..., y, x)``.
    part
        (y, x) of the part; None is all of the image.
    """
    if part is None:
        return image
    rows, columns = ((size - side) // 2 for size, side in zip(image.shape[-2:], part, strict=True))
    return image[..., rows : rows + part[0], columns : columns + part[1]]


def volume_quality(slices: Sequence[tuple[Tensor, Tensor]], data_range: float | None = None) -> Quality:
    """Return NMSE, PSNR and SSIM of a volume that is looked at slice by slice, with the *volume's* peak.

    The figures are those of `nmse`, `psnr` and `ssim` on the whole volume; memory holds one slice.

    Parameters
    ----------
    slices
        (reference, reconstruction), each real ``(y, x)``; gone through twice.
    data_range
        In place of the peak of these slices: that of the whole volume, as fastMRI's files declare it (``max``).

    Raises
    ------
    DataError
        As the functions for whole volumes.
    """
    peak = energy = error = 0.0
    pixels = 0
    for reference, reconstruction in slices:
        x, y = _checked(reference[None], reconstruction[None], zero_allowed=True)
        peak = max(peak, float(x.max()))
        energy += float(x.square().sum())
        error += float((y - x).square().sum())
        pixels += x.numel()
    if energy == 0:
        raise DataError("the reference volume is zero everywhere; image quality is not defined")
    peak = peak if data_range is None else data_range
    similarity = [_slice_ssim(reference, reconstruction, peak) for reference, reconstruction in slices]
    return Quality(
        nmse=error / energy,
        psnr=math.inf if error == 0 else 10.0 * math.log10(peak**2 / (error / pixels)),
        ssim=sum(similarity) / len(similarity),
    )


def _slice_ssim(reference: Tensor, reconstruction: Tensor, peak: float) -> float:
    """Return one slice's structural similarity for a given range."""
    if min(reference.shape) < WINDOW:
        raise DataError(
            f"structural similarity needs slices of at least {WINDOW}x{WINDOW} pixels, not {tuple(reference.shape)}"
        )
    from skimage.metrics import structural_similarity

    x, y = (image.detach().cpu().double().numpy() for image in (reference, reconstruction))
    return float(structural_similarity(x, y, win_size=WINDOW, data_range=peak))
