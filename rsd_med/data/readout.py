"""The readout direction: rows that were never sampled, and the oversampling that is removed."""

import torch
from torch import Tensor

from rsd_med.calibration.scale import dc_window


def sampled_rows(kspace: Tensor) -> Tensor:
    """Return the rows between the first and the last that hold anything.

    An asymmetric echo, or zero padding to a larger matrix, leaves rows at the edge that are zero in all coils and
    columns: never sampled, rather than sampled as zero.

    Parameters
    ----------
    kspace
        complex64, (coil, y, x).

    Returns
    -------
    Tensor
        bool, (y,).
    """
    rows = kspace.shape[-2]
    if bool((kspace[:, 0] != 0).any()) and bool((kspace[:, -1] != 0).any()):
        return torch.ones(rows, dtype=torch.bool)  # as nearly always: without a look at the rest
    filled = torch.nonzero((kspace != 0).any(0).any(-1)).flatten()
    sampled = torch.zeros(rows, dtype=torch.bool)
    if len(filled):
        sampled[int(filled[0]) : int(filled[-1]) + 1] = True
    return sampled


def central_rows(image: Tensor, rows: int) -> Tensor:
    """Crop y about its centre, so that the central pixel stays the central pixel; (..., y, x)."""
    return image[..., dc_window(image.shape[-2], rows), :].contiguous()


def without_oversampling(kspace: Tensor, sampled: Tensor, rows: int) -> tuple[Tensor, Tensor | None]:
    """Remove readout oversampling: to the image along y, crop, and back (centred and orthonormal).

    Columns stay apart, so what was not acquired stays exactly zero; the image keeps its values, and white noise its
    standard deviation.

    Parameters
    ----------
    kspace
        complex64, (coil, y, x).
    sampled
        bool, (y,): from :func:`sampled_rows`.
    rows
        y afterwards.

    Returns
    -------
    tuple of Tensor
        k-space (coil, rows, x), and the rows that were sampled, bool, (rows,), or None when all were. Rows that were
        not are zero.
    """
    before = kspace.shape[-2]
    if rows < before:
        kspace = _cropped(kspace, rows)
        # Row r afterwards is at the spatial frequency of row (r - rows // 2) * before / rows before.
        found = torch.nonzero(sampled).flatten().to(torch.float64) - before // 2
        frequency = (torch.arange(rows, dtype=torch.float64) - rows // 2) * (before / rows)
        sampled = (frequency >= found.min() - 0.5) & (frequency <= found.max() + 0.5)
    if bool(sampled.all()):
        return kspace, None
    return torch.where(sampled[:, None], kspace, 0), sampled


def _cropped(kspace: Tensor, rows: int) -> Tensor:
    along = torch.fft.ifft(torch.fft.ifftshift(kspace, dim=-2), dim=-2, norm="ortho")
    # The rows about the centre of the shifted image are the first and the last of the unshifted one: shifting, cropping
    # and shifting back without touching the rest.
    after = rows - rows // 2
    cropped = torch.cat([along[..., :after, :], along[..., along.shape[-2] - rows // 2 :, :]], dim=-2)
    return torch.fft.fftshift(torch.fft.fft(cropped, dim=-2, norm="ortho"), dim=-2)
