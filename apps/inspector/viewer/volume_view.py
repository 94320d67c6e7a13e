"""The 3-D view: NiiVue in a frame that has no origin, no cookie and no way to any server.

The frame's page and scripts are the same for everybody and hold nothing of anybody, so they need no session. What is
drawn is handed to the frame by the viewer's page (``static/volume.js``) in a message: grey levels, windowed there.
"""

import base64
import json
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from rsd_med.data.display import volume_planes

from ..web.artefacts import Pane

FOLDER = Path(__file__).parent / "niivue"
# Sandboxed by the server too, should somebody open the frame's address by itself. Fonts and the like are data: in it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    # A frame without an origin is a stranger to its own server; these files are public.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_SENT = {"page.css": "text/css", "page.js": "text/javascript", "niivue.umd.js": "text/javascript"}


def vendored() -> dict[str, Any]:
    """Return what is known of the file that was taken over: name, version, licence, SHA-256."""
    known: dict[str, Any] = json.loads((FOLDER / "vendored.json").read_text(encoding="utf-8"))
    return known


@lru_cache
def frame_html() -> str:
    """Return the frame's page; the browser runs NiiVue only if it is the very file that was reviewed."""
    digest = base64.b64encode(bytes.fromhex(vendored()["sha256"])).decode()
    return Template((FOLDER / "page.html").read_text(encoding="utf-8")).substitute(integrity=digest)


def volume_place(pane: Pane) -> dict[str, Any]:
    """Return how a volume lies for NiiVue: ``affine`` (16 numbers, row by row) and whether ``letters`` are shown.

    Letters need a trusted affine whose grid follows the patient's axes: NiiVue writes one letter at each edge, which
    would be wrong where it leans. Without a trusted affine the volume is shown as stored, as everywhere here.
    """
    three = volume_planes(pane.affine)
    if pane.affine is None or three[0].letters is None:
        z, y, x = pane.spacing if pane.spacing is not None and len(pane.spacing) == 3 else (1.0, 1.0, 1.0)
        # Under NiiVue's radiological convention R, A and S lie left and up: there the first index must be.
        affine = np.diag([-float(x), -float(y), -float(z), 1.0])
        return {"affine": affine.ravel().tolist(), "letters": False}
    straight = all(len(letter) == 1 for plane in three for letter in (plane.letters or {}).values())
    return {"affine": np.asarray(pane.affine, dtype=np.float64).ravel().tolist(), "letters": straight}


def frame_routes() -> APIRouter:
    """Return ``GET /niivue`` and its files: a list of names, nothing else is ever read."""
    routes = APIRouter()

    @routes.get("/niivue")
    def page() -> Response:
        return Response(frame_html(), media_type="text/html; charset=utf-8", headers=_HEADERS)

    @routes.get("/niivue/{name}")
    def file(name: str) -> Response:
        if name not in _SENT:
            raise HTTPException(404, "not found")
        return Response((FOLDER / name).read_bytes(), media_type=_SENT[name], headers=_HEADERS)

    return routes
