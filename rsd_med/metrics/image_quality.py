"""Fidelity of a reconstruction to its reference, as fastMRI defines it (Zbontar et al. 2018, arXiv:1811.08839, §6.1).

All take magnitude volumes ``(slice, y, x)``; peak and range are the maximum of the reference *volume*.
"""

import torch
from torch import Tensor

from rsd_med.base.errors import DataError

WINDOW = 7


def _checked(reference: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as float64 volumes, or say why they cannot be compared."""
    if reference.shape != reconstruction.shape or reference.ndim != 3:
        msg = (
            f"reference {tuple(reference.shape)} and reconstruction {tuple(reconstruction.shape)} must be equal "
            "volumes (slice, y, x); crop both alike"
        )
        raise DataError(msg)
    if reference.is_complex() or reconstruction.is_complex():
        msg = "image quality is measured on magnitudes, and these images are complex; take .abs() first"
        raise DataError(msg)
    if not bool(torch.isfinite(reference).all() and torch.isfinite(reconstruction).all()):
        msg = "the reference or the reconstruction contains NaN or infinity"
        raise DataError(msg)
    if not bool((reference != 0).any()):
        msg = "the reference volume is zero everywhere; image quality is not defined"
        raise DataError(msg)
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
    if min(x.shape[1:]) < WINDOW:
        msg = f"structural similarity needs slices of at least {WINDOW}x{WINDOW} pixels, not {tuple(x.shape[1:])}"
        raise DataError(msg)
    from skimage.metrics import structural_similarity

    peak = float(x.max())
    values = [
        structural_similarity(a, b, win_size=WINDOW, data_range=peak) for a, b in zip(x.numpy(), y.numpy(), strict=True)
    ]
    return float(sum(values) / len(values))
