"""The viewer's addresses. Every artefact is looked up among those of the session that the cookie names.

- ``GET /viewer?panes=ID,ID`` is the page.
- ``GET /viewer/slice/ID/AXIS/N``: slice N across axis 0, 1 or 2 of (z, y, x), float32 little-endian, row by row.
- ``GET /viewer/still/ID/AXIS/N.png``: the same in 8 bits under the pane's window, turned for display.
- ``GET /viewer/static/…``: the page's own scripts and styles.
- ``GET /niivue``: the frame for 3-D, which holds nothing of anybody (``volume_view``).
"""

import io
import math

import numpy as np
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

from rsd_med.base.errors import DataError
from rsd_med.data.display import turn, volume_planes
from rsd_med.data.windowing import grey_levels

from ..notice import burn_in
from ..web.artefacts import Pane
from ..web.session import current_session
from ..web.stored import read_volume
from .page import MOST_PANES, POLICY, STATIC, viewer_html
from .volume_view import frame_routes

# Somebody's anatomy stays in no cache; what is served is never guessed to be something else.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def mount_viewer(app: FastAPI) -> None:
    """Add the viewer's routes to the app."""
    app.mount("/viewer/static", StaticFiles(directory=STATIC), name="viewer-static")
    app.include_router(_routes())
    app.include_router(frame_routes())


def _find(request: Request, artefact: str) -> tuple[Pane, np.ndarray]:
    session = current_session(request)
    owned = session.artefacts.get(artefact)
    if owned is None or owned.pane is None:
        raise HTTPException(404, "not found")
    try:
        return owned.pane, read_volume(session, artefact)
    except (DataError, OSError):
        raise HTTPException(404, "not found") from None


def _cut(volume: np.ndarray, axis: int, number: int) -> np.ndarray:
    if axis not in (0, 1, 2) or not 0 <= number < volume.shape[axis]:
        raise HTTPException(404, "not found")
    return np.ascontiguousarray(volume.take(number, axis=axis), dtype="<f4")


def _encode(picture: np.ndarray) -> bytes:
    """Encode grey levels (y, x) as PNG, with the notice burnt in below."""
    buffer = io.BytesIO()
    burn_in(np.ascontiguousarray(picture)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _routes() -> APIRouter:
    routes = APIRouter()

    @routes.get("/viewer")
    def page(request: Request, panes: str = "", slice: int | None = None) -> HTMLResponse:
        names = panes.split(",")
        if not 1 <= len(names) <= MOST_PANES:
            raise HTTPException(422, f"the viewer shows one to {MOST_PANES} pictures")
        owned = [_find(request, artefact) for artefact in names]
        text = viewer_html([pane for pane, _ in owned], [volume.shape for _, volume in owned], slice)
        return HTMLResponse(text, headers={**_HEADERS, "Content-Security-Policy": POLICY})

    @routes.get("/viewer/slice/{artefact}/{axis}/{number}")
    def raw(request: Request, artefact: str, axis: int, number: int) -> Response:
        _, volume = _find(request, artefact)
        return Response(_cut(volume, axis, number).tobytes(), media_type="application/octet-stream", headers=_HEADERS)

    @routes.get("/viewer/still/{artefact}/{axis}/{number}.png")
    def still(
        request: Request,
        artefact: str,
        axis: int,
        number: int,
        low: float | None = None,
        high: float | None = None,
        invert: bool = False,
    ) -> Response:
        pane, volume = _find(request, artefact)
        black = pane.window[0] if low is None else low
        white = pane.window[1] if high is None else high
        if not (math.isfinite(black) and math.isfinite(white) and black < white):
            raise HTTPException(422, "low must be below high")
        levels = grey_levels(_cut(volume, axis, number), (black, white), invert=invert)
        picture = turn(levels, volume_planes(pane.affine)[axis])
        return Response(_encode(picture), media_type="image/png", headers=_HEADERS)

    return routes
