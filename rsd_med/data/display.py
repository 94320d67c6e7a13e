"""How a slice is turned for the eye, and the letters at its edges: the one rule for viewer, pictures and exports.

Arrays keep the order of their file; only what is drawn is turned, and only where the affine is trusted. Then planes
are shown in the radiological convention: the patient's right on the left of the screen, the front (axial) or the head
(coronal, sagittal) at the top, and sagittal slices with the face to the left. Pixels are transposed and mirrored, never
resampled. It needs no torch, so that a program that only shows pictures need not import it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Letters = dict[Literal["left", "right", "top", "bottom"], str]

# Of the plane across each patient axis (left-right, back-front, feet-head): its name, and the axes that run along the
# screen's rows and columns. Their positive ends (R, A, S) lie at the left and at the top.
_PLANES = {0: ("Sagittal", 1, 2), 1: ("Coronal", 0, 2), 2: ("Axial", 0, 1)}
_NEGATIVE, _POSITIVE = "LPI", "RAS"
# A second letter is written where the direction leans more than about 15 degrees.
_LEANING = 0.26


@dataclass(frozen=True)
class Plane:
    """How the slices across one axis of a volume are shown.

    Attributes
    ----------
    axis
        The array axis that is cut across.
    name
        Axial, Coronal or Sagittal where the affine is trusted, else "".
    transpose
        Whether the first remaining axis runs across the screen instead of down.
    flip_down, flip_across
        Whether the order is reversed down and across the screen, after transposing.
    letters
        Patient directions at the four edges, two letters where the grid leans; None where they are unknown.
    """

    axis: int
    name: str = ""
    transpose: bool = False
    flip_down: bool = False
    flip_across: bool = False
    letters: Letters | None = None


def is_trusted(affine: ArrayLike | None) -> bool:
    """Tell whether an affine can carry letters: 4 x 4, finite, and neither flat nor sheared beyond use.

    Parameters
    ----------
    affine
        Voxel indices to millimetres, RAS+, or None.
    """
    if affine is None or np.shape(affine) != (4, 4):
        return False
    matrix = np.asarray(affine, dtype=np.float64)
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or not (lengths > 0).all():
        return False
    # Unit vectors at right angles span a volume of one. An acquired grid is a box; shear comes from a wrong header.
    return bool(abs(np.linalg.det(matrix[:3, :3] / lengths)) >= 0.5)


def plane_across(affine: ArrayLike | None, axis: int) -> Plane:
    """Return how the slices across one axis of a volume are shown.

    Parameters
    ----------
    affine
        Millimetres in RAS+ of an array's indices, shape (4, 4), its columns in the order of the array's axes. None, or
        one that is not trusted, gives the slices as stored, without letters.
    axis
        0, 1 or 2.
    """
    if affine is None or not is_trusted(affine):
        return Plane(axis)
    from nibabel.orientations import io_orientation

    matrix = np.asarray(affine, dtype=np.float64)
    patient_axes, signs = io_orientation(matrix).T  # of each array axis: the nearest patient axis, 1 towards R, A, S
    name, horizontal, _ = _PLANES[int(patient_axes[axis])]
    down, across = (other for other in (0, 1, 2) if other != axis)
    transpose = bool(patient_axes[down] == horizontal)
    down, across = (across, down) if transpose else (down, across)
    cosines = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    # Towards the screen's right and bottom the patient's coordinates fall.
    right, bottom = -signs[across] * cosines[:, across], -signs[down] * cosines[:, down]
    letters: Letters = {
        "left": _letters(-right),
        "right": _letters(right),
        "top": _letters(-bottom),
        "bottom": _letters(bottom),
    }
    return Plane(axis, name, transpose, bool(signs[down] > 0), bool(signs[across] > 0), letters)


def volume_planes(affine: ArrayLike | None) -> tuple[Plane, Plane, Plane]:
    """Return how the slices across z, y and x of a volume (z, y, x) are shown.

    Parameters
    ----------
    affine
        Millimetres in RAS+ of voxel indices (x, y, z), as NIfTI writes it: shape (4, 4); None when it is unknown.
    """
    order = None if affine is None or np.shape(affine) != (4, 4) else np.asarray(affine)[:, [2, 1, 0, 3]]
    across_z, across_y, across_x = (plane_across(order, axis) for axis in (0, 1, 2))
    return across_z, across_y, across_x


def turn(picture: np.ndarray, plane: Plane) -> np.ndarray:
    """Turn a slice (rows, columns) or (rows, columns, colours) as its plane is shown on the screen."""
    turned = np.swapaxes(picture, 0, 1) if plane.transpose else picture
    turned = turned[::-1] if plane.flip_down else turned
    return turned[:, ::-1] if plane.flip_across else turned


def _letters(direction: np.ndarray) -> str:
    """Name a direction by its largest components, the main one first: A, or AL when it leans to the left."""
    order = np.argsort(-np.abs(direction), kind="stable")
    named = [i for i in order if abs(direction[i]) > _LEANING] or [order[0]]
    return "".join((_POSITIVE if direction[i] > 0 else _NEGATIVE)[i] for i in named)
