"""What a session shows and gives away: volumes for the viewer, pictures in the page, files to keep.

Volumes reach the eye through the viewer's routes (``apps.inspector.viewer.routes``), slice by slice in float32.
Pictures and exports come from ``GET /artefact/<id>/file``. Every id is looked up among those of the session that the
cookie names; what is not there is answered with 404, whether it belongs to another or never was.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from apps.inspector.session import Session, new_id
from rsd_med.base.errors import DataError

Kind = Literal["grey", "uncertainty", "difference"]
MAX_SIDE = 4096

# What may be shown in the page; everything else is handed over as an attachment.
_SHOWN = {".png": "image/png"}
_SENT = {".png": "image/png", ".csv": "text/csv; charset=utf-8", ".zip": "application/zip", ".json": "application/json"}
# Somebody's anatomy stays in no cache: the viewer keeps the slices it shows in its own memory.
_HEADERS = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class Pane:
    """A volume as the viewer shows it.

    Attributes
    ----------
    artefact
        Opaque id of the volume.
    title
        What is shown, in words.
    unit
        Unit of the values, as the reader should see it.
    window
        (black, white) in that unit.
    affine
        Voxel indices (x, y, z) to millimetres in RAS+, four rows of four; None when it is unknown or not to be
        trusted, and then no letters are shown.
    spacing
        Millimetres (z, y, x); None when unknown.
    kind
        What the values mean, which decides the colours.
    """

    artefact: str
    title: str
    unit: str
    window: tuple[float, float]
    affine: tuple[tuple[float, ...], ...] | None = None
    spacing: tuple[float, ...] | None = None
    kind: Kind = "grey"


@dataclass(frozen=True)
class Artefact:
    """Something a session owns.

    Attributes
    ----------
    id
        Opaque.
    path
        File in the session's folder: a float32 ``.npy`` of shape (z, y, x) for volumes.
    pane
        How a volume is shown; None for files.
    name
        What the browser calls the file when it is kept; never made of anything a user sent.
    """

    id: str
    path: Path
    pane: Pane | None = None
    name: str = "file"


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
        msg = f"a volume has three axes of at most {MAX_SIDE} each, not {stack.shape}"
        raise ValueError(msg)
    low, high = float(window[0]), float(window[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        msg = f"a window goes from a lower to a higher number, not {window}"
        raise ValueError(msg)
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
        msg = "only files of the session's own folder can be handed out"
        raise ValueError(msg)
    if not all(letter.isascii() and (letter.isalnum() or letter in "-_.") for letter in name):
        msg = f"{name!r} is no plain name"
        raise ValueError(msg)
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
    found = session.artefacts.get(artefact)
    if found is None or found.pane is None:
        raise DataError("That image belongs to another session or is gone; make it again.")
    volume: np.ndarray = np.load(found.path, mmap_mode="r", allow_pickle=False)
    return volume


def window_levels(values: np.ndarray, low: float, high: float, *, invert: bool = False) -> np.ndarray:
    """Map values to 8 bits: ``low`` and below is 0, ``high`` and above is 255, rounded; what is not finite is 0."""
    scaled = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    levels = np.rint(np.nan_to_num(scaled) * 255).astype(np.uint8)
    return 255 - levels if invert else levels


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


def current_session(request: Request) -> Session:
    """Return the session of a request; 403 without one (the server's gate puts it there)."""
    session = request.scope.get("inspector.session")
    if not isinstance(session, Session):
        raise HTTPException(403, "no session")
    return session


def _owned(request: Request, artefact: str) -> Artefact:
    found = current_session(request).artefacts.get(artefact)
    if found is None:
        # The same answer for what belongs to another and for what never was.
        raise HTTPException(404, "not found")
    return found


def artefact_routes() -> APIRouter:
    """Return the route described above; it runs in threads, so that reading does not hold up others."""
    routes = APIRouter()

    @routes.get("/artefact/{artefact}/file")
    def file(request: Request, artefact: str, keep: bool = False) -> Response:
        found = _owned(request, artefact)
        if found.pane is not None:
            raise HTTPException(404, "not found")
        try:
            content = found.path.read_bytes()
        except OSError:
            raise HTTPException(404, "not found") from None
        headers = dict(_HEADERS)
        if keep or found.path.suffix not in _SHOWN:
            headers["Content-Disposition"] = f'attachment; filename="{found.name}"'
        return Response(content, media_type=_SENT.get(found.path.suffix, "application/octet-stream"), headers=headers)

    return routes
