"""Where the voxels of a NIfTI file lie, by the rules of the NIfTI-1 standard (nifti1.h): the affine is the one source.

The affine is the sform where its code is positive and it can be inverted, else the qform under the same conditions.
Voxel sizes are the lengths of its columns; ``pixdim`` is asked only where there is no affine, or for the qform's.
"""

import math
from typing import Any

import numpy as np

_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Of the units that ``xyzt_units`` knows: metre, millimetre, micron. What is not declared is millimetres, as usual."""

_ALIKE = 0.01
"""Voxel sizes that differ by a smaller part are rounded differently, and mean the same."""

Grid = tuple[np.ndarray | None, tuple[float, float, float] | None, bool]


def grid_of(header: Any) -> Grid:
    """Return the affine, the voxel sizes, and whether ``pixdim`` says something else than the affine.

    Parameters
    ----------
    header
        nibabel's, as it stands in the file; its ``pixdim`` is mended where the standard says how: a qfac of 0 means 1,
        and sizes are positive.

    Returns
    -------
    tuple
        float64 (4, 4) from voxel indices to millimetres, or None where no usable one is declared (orientation unknown);
        (i, j, k) in millimetres, or None where unknown.
    """
    if abs(float(header["pixdim"][0])) != 1:
        header["pixdim"][0] = 1
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    unit = _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    declared = [float(size) * unit for size in header["pixdim"][1:4]]
    affine = _usable_affine(header)
    if affine is not None:
        affine[:3] *= unit
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        differ = any(size > 0 and abs(size / own - 1) > _ALIKE for size, own in zip(declared, sizes, strict=True))
        return affine, _three(sizes.tolist()), differ
    if not all(math.isfinite(size) and size > 0 for size in declared):
        return None, None, False
    if declared == [1, 1, 1] and int(header["xyzt_units"]) & 7 == 0:
        return None, None, False  # what writers leave where nothing is known
    return None, _three(declared), False


def _usable_affine(header: Any) -> np.ndarray | None:
    from nibabel.spatialimages import HeaderDataError

    for code, read in (("sform_code", header.get_sform), ("qform_code", header.get_qform)):
        if int(header[code]) <= 0:
            continue
        try:
            with np.errstate(invalid="ignore"):
                affine = np.array(read(), dtype=np.float64)
        except (HeaderDataError, ValueError, ArithmeticError, np.linalg.LinAlgError):
            continue
        if np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-12 * np.abs(affine[:3, :3]).max() ** 3:
            return affine
    return None


def _three(values: list[float]) -> tuple[float, float, float]:
    return values[0], values[1], values[2]
