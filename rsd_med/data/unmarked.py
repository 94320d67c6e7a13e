"""Scans of files that mark nothing: what is zero in all coils was not sampled."""

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.calibration.scale import central_run, contiguous
from rsd_med.data.readout import sampled_rows
from rsd_med.data.scan import Scan


def unmarked_scan(id: str, kspace: Tensor) -> Scan:
    """Return a scan whose zeros say what was sampled: whole columns, rows between the first and the last, or any plane.

    Parameters
    ----------
    id
        The item's name.
    kspace
        complex64, (coil, y, x), centred.

    Raises
    ------
    DataError
        If it holds NaN, infinities or nothing at all.
    """
    if not bool(torch.isfinite(torch.view_as_real(kspace)).all()):
        raise DataError(f"{id}: k-space holds NaN or infinite values; repair or remove the file.")
    sampled = (kspace != 0).any(0)
    if not bool(sampled.any()):
        raise DataError(f"{id}: k-space is zero everywhere; remove the slice or write it again.")
    columns, rows = sampled.any(0), sampled_rows(kspace)
    whole = torch.equal(sampled, rows[:, None] & columns)
    return Scan(
        id=id,
        kspace=kspace,
        acquired=columns,
        acs_lines=central_run(columns) if whole and not contiguous(columns) else None,
        readout=rows if whole and not bool(rows.all()) else None,
        sampled=None if whole else sampled,
    )
