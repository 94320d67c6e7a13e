"""Where a slice lies in the patient: the one place where signs, axes and vendors' conventions are settled.

Patient coordinates inside the package are millimetres in RAS+ (x to the right, y to the front, z to the head), as in
NIfTI. DICOM and ISMRMRD count in LPS+ (left, back, head): their first two coordinates change sign, here and nowhere
else. An affine maps (row y, column x, slice) of an image to these millimetres. Arrays are never turned to fit: flips
are for eyes, by the rule of ``display.py`` alone.

*Vendors.* No scanner's data are mirrored after reading. Siemens, GE and Philips differ in the signs of their gradients
and in the order of their lines, and the converters to ISMRMRD undo that: in an ISMRMRD file, index y of the image
F^H k (centred inverse transform) grows along ``read_dir`` and index x along ``phase_dir``, and the pixel at the centre
of the transform (index n // 2) lies at ``position``. Gadgetron writes its DICOM files by this rule
(``gadgets/dicom/dicom_ismrmrd_utility.cpp``), and so it holds for every vendor whose converter Gadgetron can use.
fastMRI's files say nothing about position: their orientation is unknown, whatever the pictures look like. Lines that
are acquired backwards (``ACQ_IS_REVERSE``) are turned in the ISMRMRD reader, where the flag is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rsd_med.data.display import Letters, plane_across, turn
from rsd_med.data.scan import Geometry
from rsd_med.data.tolerances import ANGLE, even_step, same_length

_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def _unit(vector: Sequence[float]) -> np.ndarray | None:
    """Return a direction of length 1, or None where the vector is none."""
    direction = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(direction))
    if direction.shape != (3,) or not np.isfinite(direction).all() or not 0.9 < length < 1.1:
        return None
    return direction / length


def slice_affine(
    corner: Sequence[float],
    down: Sequence[float],
    across: Sequence[float],
    spacing: tuple[float, float],
    step: Sequence[float] | float,
) -> np.ndarray | None:
    """Return the affine of one slice from what DICOM and ISMRMRD tell.

    Parameters
    ----------
    corner
        Where pixel (0, 0) lies, millimetres, LPS+.
    down, across
        The directions in which y and x grow, of length 1, LPS+.
    spacing
        Millimetres from row to row and from column to column.
    step
        From this slice to the next: a vector in millimetres, LPS+, or a distance along the normal.

    Returns
    -------
    numpy.ndarray or None
        float64 (4, 4), RAS+; None where the directions are missing, not perpendicular, or anything is no number:
        orientation unknown.
    """
    y, x = _unit(down), _unit(across)
    origin = np.asarray(corner, dtype=np.float64)
    if y is None or x is None or origin.shape != (3,) or abs(float(y @ x)) > 0.01:
        return None
    between = np.cross(x, y) * step if isinstance(step, float | int) else np.asarray(step, dtype=np.float64)
    affine = np.eye(4)
    affine[:3] = np.column_stack([y * spacing[0], x * spacing[1], between, origin]) * _LPS_TO_RAS[:, None]
    usable = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9
    return affine if usable else None


def centred_affine(
    centre: Sequence[float],
    down: Sequence[float],
    across: Sequence[float],
    shape: tuple[int, int],
    spacing: tuple[float, float],
    step: Sequence[float] | float,
) -> np.ndarray | None:
    """Return the affine of a slice whose pixel (y // 2, x // 2) lies at ``centre``: ISMRMRD's rule.

    The other parameters are those of :func:`slice_affine`; ``shape`` is the image's.
    """
    y, x = _unit(down), _unit(across)
    if y is None or x is None:
        return None
    to_corner = y * spacing[0] * (shape[0] // 2) + x * spacing[1] * (shape[1] // 2)
    corner = np.asarray(centre, dtype=np.float64) - to_corner
    return slice_affine(list(corner), list(y), list(x), spacing, step)


def stack_geometry(slices: Sequence[Geometry]) -> Geometry:
    """Return the geometry of the volume that slices form.

    Parameters
    ----------
    slices
        Of the slices, in their order; at least one.

    Returns
    -------
    Geometry
        ``affine`` maps (y, x, slice). It is None where a slice's is unknown, or where the slices do not lie at equal
        distances on a line: then the volume is no grid, and says nothing rather than something wrong.
    """
    first = slices[0]
    plane = None if first.spacing_mm is None else first.spacing_mm[:2]
    if plane is not None and not all(_same_plane(one.spacing_mm, plane) for one in slices):
        plane = None
    if any(one.affine is None for one in slices):
        depth = None if first.spacing_mm is None else first.spacing_mm[2:3]
        return Geometry(None, None if plane is None else (*plane, *(depth or ())))
    affines = np.stack([np.asarray(one.affine, dtype=np.float64) for one in slices])
    affine = affines[0].copy()
    step = affine[:3, 2] if len(slices) == 1 else even_step(affines[:, :3, 3])
    parallel = np.abs(affines[:, :3, :2] - affine[:3, :2]).max() <= ANGLE * np.abs(affine[:3, :2]).max()
    if step is None or not parallel:
        return Geometry(None, plane)
    affine[:3, 2] = step
    if abs(np.linalg.det(affine[:3, :3])) <= 1e-9:
        return Geometry(None, plane)
    plane = plane or tuple(np.linalg.norm(affine[:3, :2], axis=0))
    if len(slices) == 1 and first.spacing_mm is not None and len(first.spacing_mm) < 3:
        return Geometry(affine, plane)  # its third column is a direction alone
    return Geometry(affine, (*plane, float(np.linalg.norm(step))))


def _same_plane(spacing: tuple[float, ...] | None, plane: tuple[float, ...]) -> bool:
    return spacing is not None and all(same_length(*pair) for pair in zip(spacing[:2], plane, strict=True))


@dataclass(frozen=True)
class Displayed:
    """An image as it is looked at.

    Attributes
    ----------
    image
        The pixels, turned.
    letters
        At the four edges; None where the orientation is unknown.
    geometry
        Of the turned image: the pixels lie where they lay.
    """

    image: np.ndarray
    letters: Letters | None
    geometry: Geometry


def displayed(image: np.ndarray, geometry: Geometry) -> Displayed:
    """Turn a slice for the eye (:func:`rsd_med.data.display.plane_across`); leave it alone if it may lie anyhow.

    Parameters
    ----------
    image
        ``(y, x)`` or ``(y, x, colours)``.
    geometry
        The slice's.
    """
    plane = plane_across(geometry.affine, 2)
    if geometry.affine is None or plane.letters is None:
        return Displayed(image, None, geometry)
    turned = np.ascontiguousarray(turn(image, plane))
    affine, spacing = np.array(geometry.affine, dtype=np.float64), geometry.spacing_mm
    if plane.transpose:
        affine = affine[:, [1, 0, 2, 3]]
        spacing = None if spacing is None else (spacing[1], spacing[0], *spacing[2:])
    for axis, flip in enumerate((plane.flip_down, plane.flip_across)):
        if flip:
            affine[:, 3] += affine[:, axis] * (turned.shape[axis] - 1)
            affine[:, axis] *= -1
    return Displayed(turned, plane.letters, Geometry(affine, spacing))
