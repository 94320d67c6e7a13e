"""The scale of a scan and the fully sampled centre (ACS) it is taken from."""

import math

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.operators.fourier import ifft2c
from rsd_med.operators.masks import acs_slice

SMALLEST, LARGEST = 1e-15, 1e15
"""Between these a value can be squared, and summed over coils and lines, in single precision."""


def contiguous(sampled: Tensor) -> bool:
    """Say whether the sampled lines, bool (n,), are one run without a gap; False where none is sampled."""
    lines = sampled.nonzero().flatten()
    return len(lines) > 0 and len(lines) == int(lines[-1] - lines[0]) + 1


def central_run(acquired: Tensor) -> int:
    """Count the central lines that are all sampled.

    Parameters
    ----------
    acquired
        bool, shape (x,), centred.

    Returns
    -------
    int
        The largest ``acs_lines`` that fits (``operators.masks.acs_slice``); 0 when the centre is missing.
    """
    size = acquired.shape[-1]
    lines = 0
    while lines < size and bool(acquired[acs_slice(size, lines + 1)].all()):
        lines += 1
    return lines


def dc_window(size: int, width: int) -> slice:
    """Return the window of an axis whose index ``width // 2`` is the zero frequency.

    ``operators.masks.acs_slice`` places an even window in an odd axis one line further to the right, as fastMRI does.
    """
    start = size // 2 - width // 2
    return slice(start, start + width)


def central_width(sampled: Tensor, rows: int) -> int:
    """Return the side of the widest square about the zero frequency that is fully sampled.

    Parameters
    ----------
    sampled
        bool, (x,): whole columns, or (y, x): entries; centred.
    rows
        Size of k-space along y.
    """
    columns = sampled.shape[-1]
    if sampled.ndim == 1:
        width = min(central_run(sampled), rows)
        # The two conventions for the middle of an even window differ by a line where the matrix is odd.
        while width > 0 and not bool(sampled[dc_window(columns, width)].all()):
            width -= 1
        return width
    width = 0
    while width < min(rows, columns):
        if not bool(sampled[dc_window(rows, width + 1), dc_window(columns, width + 1)].all()):
            break
        width += 1
    return width


def windowed_images(centre: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the low-resolution coil images of the centre of k-space.

    Parameters
    ----------
    centre
        complex64, (coil, w, w), with the zero frequency at ``w // 2``, not zero.
    shape
        Image size (y, x).

    Returns
    -------
    Tensor
        complex64, (coil, y, x), in units of the centre's largest entry.
    """
    width = centre.shape[-1]
    # Without a window, the square's edges ring in the image.
    window = torch.hann_window(width + 2, periodic=False, device=centre.device)[1:-1]
    kspace = centre.new_zeros(centre.shape[0], *shape, dtype=torch.complex64)
    tapered = centre / centre.abs().max() * window[:, None] * window
    kspace[..., dc_window(shape[0], width), dc_window(shape[1], width)] = tapered
    return ifft2c(kspace)


def scan_scale(kspace: Tensor, sampled: Tensor, most_lines: int) -> tuple[float, int]:
    """Return the scale of a scan and the number of central lines it was taken from.

    Parameters
    ----------
    kspace
        Measured k-space, complex, (coil, y, x), zero where not sampled.
    sampled
        bool, (x,): whole columns, or (y, x): entries; of those, the central square is taken.
    most_lines
        The number of central lines, if the centre has as many.

    Raises
    ------
    DataError
        As :func:`acs_scale`.
    """
    if sampled.ndim == 1:
        lines = min(most_lines, central_run(sampled))
        return acs_scale(kspace, lines), lines
    lines = min(most_lines, central_width(sampled, kspace.shape[-2]))
    return acs_scale(kspace, lines, lines or None), lines


def acs_scale(kspace: Tensor, acs_lines: int, acs_rows: int | None = None) -> float:
    """Return the number a scan is divided by: the 99th percentile of its low-resolution magnitude image.

    The image is the root-sum-of-squares over coils of the central ``acs_lines`` columns of k-space, zero-filled to the
    full matrix, so that its values compare with those of the image itself. A-DPS (Aali et al. 2024, arXiv:2403.08728)
    takes a square of 20 or 24 lines instead; with all measured rows the scale follows the image more closely where the
    ACS is small (4 of 32 columns, simulated knees: the 99th percentile of the scaled images varies by 17 % instead of
    31 %).

    Parameters
    ----------
    kspace
        Measured k-space, complex, shape (coil, y, x), zero where not sampled.
    acs_lines
        Number of fully sampled central columns. With 0, all sampled columns are used.
    acs_rows
        Take only so many central rows of those columns: for masks that vary along y too. None takes all.

    Returns
    -------
    float
        The scale, in the units of the file; positive.

    Raises
    ------
    DataError
        If the centre of k-space is zero or not finite, or its values are too large or too small to be squared.
    """
    _require_representable(kspace)
    columns = kspace.shape[-1]
    if acs_lines > 0:
        x = acs_slice(columns, min(acs_lines, columns))
        centre = torch.zeros_like(kspace)
        y = slice(None) if acs_rows is None else acs_slice(kspace.shape[-2], min(acs_rows, kspace.shape[-2]))
        centre[..., y, x] = kspace[..., y, x]
    else:
        centre = kspace
    image = ifft2c(centre.to(torch.complex64)).abs().square().sum(0).sqrt()
    scale = float(np.percentile(image.numpy(force=True), 99))
    if not math.isfinite(scale) or scale <= 0:
        raise DataError(
            "The centre of k-space is zero or not finite, so the scan has no scale; check that k-space is centred and "
            "that acs_lines central columns were sampled."
        )
    return scale


def _require_representable(kspace: Tensor) -> None:
    """Refuse values whose squares are infinite or zero in single precision."""
    peak = float(kspace.abs().max())
    if 0 < peak < math.inf and not SMALLEST < peak < LARGEST:
        raise DataError(
            f"The largest value of k-space is {peak:.1g}, and single precision holds the squares of {SMALLEST:.0e} to "
            f"{LARGEST:.0e}: multiply the data by a constant."
        )
