"""The files behind what a session shows and gives away: written to the session's folder, found by its ids alone."""

import math
from pathlib import Path

import numpy as np

from rsd_med.base.errors import DataError
from rsd_med.base.limits import MAX_SIDE

from .artefacts import Artefact, Kind, Pane
from .session import Session, new_id


def add_volume(
    session: Session,
    volume: np.ndarray,
    *,
    title: str,
    unit: str,
    window: tuple[float, float],
    affine: np.ndarray | None = None,
    spacing: tuple[float, ...] | None = None,
    kind: Kind = "grey",
) -> Pane:
    """Keep a volume for the session and return how it is shown.

    Parameters
    ----------
    session
        The owner.
    volume
        Real numbers, shape (z, y, x) or (y, x); kept as float32.
    title, unit, window, spacing, kind
        See :class:`Pane`.
    affine
        (4, 4) for voxel indices (x, y, z); dropped when it is not finite or not invertible.

    Raises
    ------
    DataError
        When the session has ended or is full.
    ValueError
        For a volume of another shape, or a window that is none.
    """
    stack = np.asarray(volume, dtype="<f4")
    stack = stack[None] if stack.ndim == 2 else stack
    if stack.ndim != 3 or 0 in stack.shape or max(stack.shape) > MAX_SIDE:
        raise ValueError(f"a volume has three axes of at most {MAX_SIDE} each, not {stack.shape}")
    low, high = float(window[0]), float(window[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"a window goes from a lower to a higher number, not {window}")
    artefact = new_id()
    path = session.new_path(".npy")
    np.save(path, np.ascontiguousarray(stack))
    pane = Pane(artefact, title, unit, (low, high), _trusted(affine), spacing, kind)
    _register(session, Artefact(artefact, path, pane))
    return pane


def add_stack(
    session: Session,
    path: Path,
    *,
    title: str,
    unit: str,
    window: tuple[float, float],
    affine: np.ndarray | None = None,
    spacing: tuple[float, ...] | None = None,
) -> Pane:
    """Keep a volume that lies in the session's folder already, float32 (z, y, x) in ``.npy``; see `add_volume`."""
    artefact = new_id()
    pane = Pane(artefact, title, unit, window, _trusted(affine), spacing)
    _register(session, Artefact(artefact, path, pane))
    return pane


def add_file(session: Session, path: Path, name: str) -> str:
    """Keep a file that lies in the session's folder, to be fetched under the given name; return its opaque id.

    Raises
    ------
    ValueError
        For a file outside the session's folder, or a name with anything but letters, digits, ``-``, ``_`` and ``.``.
    """
    if not path.resolve().is_relative_to(session.folder.resolve()):
        raise ValueError("only files of the session's own folder can be handed out")
    if not all(letter.isascii() and (letter.isalnum() or letter in "-_.") for letter in name):
        raise ValueError(f"{name!r} is no plain name")
    artefact = new_id()
    _register(session, Artefact(artefact, path, None, name))
    return artefact


def add_picture(session: Session, levels: np.ndarray, name: str = "picture.png") -> str:
    """Keep 8-bit levels, (y, x) or (y, x, 3), as a PNG; return its opaque id."""
    from PIL import Image

    path = session.new_path(".png")
    Image.fromarray(levels).save(path, compress_level=1)
    return add_file(session, path, name)


def read_volume(session: Session, artefact: str) -> np.ndarray:
    """Return a volume of the session, float32 (z, y, x), mapped from its file.

    Raises
    ------
    DataError
        When the session owns no such volume.
    """
    owned = session.artefacts.get(artefact)
    if owned is None or owned.pane is None:
        raise DataError("That image belongs to another session or is gone; make it again.")
    volume: np.ndarray = np.load(owned.path, mmap_mode="r", allow_pickle=False)
    return volume


def _register(session: Session, artefact: Artefact) -> None:
    with session.lock:
        if session.ended:
            raise DataError("This session has ended and its files are gone; reload the page to begin a new one.")
        session.artefacts[artefact.id] = artefact


def _trusted(affine: np.ndarray | None) -> tuple[tuple[float, ...], ...] | None:
    """Return an affine as numbers, or None when it cannot be one."""
    if affine is None:
        return None
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        return None
    return tuple(tuple(row) for row in matrix.tolist())
