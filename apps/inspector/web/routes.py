"""Pictures and exports come from ``GET /artefact/<id>/file``.

Volumes reach the eye through the viewer's routes, slice by slice in float32. Every id is looked up among those of the
session that the cookie names; what is not there is answered with 404, whether it belongs to another or never was.
"""

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from .artefacts import Artefact
from .session import current_session

# What may be shown in the page; everything else is handed over as an attachment.
_SHOWN = {".png": "image/png"}
_SENT = {".png": "image/png", ".csv": "text/csv; charset=utf-8", ".zip": "application/zip", ".json": "application/json"}
# Somebody's anatomy stays in no cache: the viewer keeps the slices it shows in its own memory.
_HEADERS = {"Cache-Control": "no-store"}


def _owned(request: Request, artefact: str) -> Artefact:
    owned = current_session(request).artefacts.get(artefact)
    if owned is None:
        # The same answer for what belongs to another and for what never was.
        raise HTTPException(404, "not found")
    return owned


def artefact_routes() -> APIRouter:
    """Return the route; it runs in threads, so that reading does not hold up others."""
    routes = APIRouter()

    @routes.get("/artefact/{artefact}/file")
    def file(request: Request, artefact: str, keep: bool = False) -> Response:
        owned = _owned(request, artefact)
        if owned.pane is not None:
            raise HTTPException(404, "not found")
        try:
            content = owned.path.read_bytes()
        except OSError:
            raise HTTPException(404, "not found") from None
        headers = dict(_HEADERS)
        if keep or owned.path.suffix not in _SHOWN:
            headers["Content-Disposition"] = f'attachment; filename="{owned.name}"'
        return Response(content, media_type=_SENT.get(owned.path.suffix, "application/octet-stream"), headers=headers)

    return routes
