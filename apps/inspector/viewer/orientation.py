"""Which way a volume lies: how each plane is turned for display, and the letters at its edges.

Arrays keep the order of their file; only what is drawn is turned, and only where the affine is trusted. Then the
planes are shown in radiological convention: the patient's right on the left of the screen, anterior (axial) or head
(coronal, sagittal) at the top, and sagittal slices with the face to the left.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Letters = dict[Literal["left", "right", "top", "bottom"], str]

_NEGATIVE, _POSITIVE = "LPI", "RAS"
# Names of the plane cut across each anatomical axis, and what lies on the screen's left and top in it: (axis, sign).
# Axes are patient's left-right, back-front and feet-head; +1 is towards R, A, S.
_SAGITTAL, _CORONAL, _AXIAL = "Sagittal", "Coronal", "Axial"
_RIGHT, _FRONT, _HEAD = (0, 1), (1, 1), (2, 1)
_STANDARD = {0: (_SAGITTAL, _FRONT, _HEAD), 1: (_CORONAL, _RIGHT, _HEAD), 2: (_AXIAL, _RIGHT, _FRONT)}
_UNKNOWN_NAMES = ("Slices", "Rows", "Columns")
# A second letter is written where the direction leans more than about 15 degrees.
_LEANING = 0.26


@dataclass(frozen=True)
class Plane:
    """How the slices across one axis of a volume (z, y, x) are shown.

    Attributes
    ----------
    name
        Axial, Coronal or Sagittal where the affine is trusted, else what is counted.
    axis
        The axis that is cut across: 0, 1, 2 for z, y, x.
    transpose
        Whether the first remaining axis runs across the screen instead of down.
    flip_down, flip_across
        Whether the order is reversed down and across the screen, after transposing.
    letters
        Patient directions at the four edges; None where they are unknown.
    """

    name: str
    axis: int
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
    if not np.isfinite(matrix).all():
        return False
    steps = matrix[:3, :3]
    lengths = np.linalg.norm(steps, axis=0)
    # Unit vectors at right angles span a volume of one. An acquired grid is a box; shear comes from a wrong header.
    if not (lengths > 0).all() or abs(np.linalg.det(steps / lengths)) < 0.5:
        return False
    return sorted(_main_axes(steps)) == [0, 1, 2]


def planes(affine: ArrayLike | None) -> tuple[Plane, Plane, Plane]:
    """Return how the slices across z, y and x are shown.

    Parameters
    ----------
    affine
        Columns are the steps along (x, y, z) of an array (z, y, x), as in `web.artefacts.Pane`: RAS+,
        shape (4, 4). None, or one that is not trusted, gives planes as stored, without letters.

    Returns
    -------
    tuple of Plane
        For axes 0, 1 and 2 of an array (z, y, x).
    """
    if affine is None or not is_trusted(affine):
        return (Plane(_UNKNOWN_NAMES[0], 0), Plane(_UNKNOWN_NAMES[1], 1), Plane(_UNKNOWN_NAMES[2], 2))
    steps = np.asarray(affine, dtype=np.float64)[:3, 2::-1]  # as (z, y, x)
    steps = steps / np.linalg.norm(steps, axis=0)
    main = _main_axes(steps)
    first, second, third = (_plane(axis, steps, main) for axis in (0, 1, 2))
    return first, second, third


def _plane(axis: int, steps: np.ndarray, main: list[int]) -> Plane:
    name, (across, across_sign), (down, down_sign) = _STANDARD[main[axis]]
    rows, columns = (other for other in (0, 1, 2) if other != axis)
    transpose = main[rows] == across
    down_axis, across_axis = (columns, rows) if transpose else (rows, columns)
    # The wanted direction lies at the low end of the screen (left, top): there the index must be the high one.
    flip_across = bool(steps[across, across_axis] * across_sign > 0)
    flip_down = bool(steps[down, down_axis] * down_sign > 0)
    to_right = steps[:, across_axis] * (-1 if flip_across else 1)
    to_bottom = steps[:, down_axis] * (-1 if flip_down else 1)
    letters: Letters = {
        "left": _letters(-to_right),
        "right": _letters(to_right),
        "top": _letters(-to_bottom),
        "bottom": _letters(to_bottom),
    }
    return Plane(name, axis, transpose, flip_down, flip_across, letters)


def _letters(direction: np.ndarray) -> str:
    """Name a direction by its largest components, the main one first: A, or AL when it leans to the left."""
    order = np.argsort(-np.abs(direction), kind="stable")
    named = [i for i in order if abs(direction[i]) > _LEANING] or [order[0]]
    return "".join((_POSITIVE if direction[i] > 0 else _NEGATIVE)[i] for i in named)


def _main_axes(steps: np.ndarray) -> list[int]:
    """Return the patient axis that each column follows most, each used once where that is possible."""
    lengths = np.linalg.norm(steps, axis=0)
    return [int(axis) for axis in np.abs(steps / lengths).argmax(0)]
