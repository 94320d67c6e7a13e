"""How a page tells that it is still open: a session ends soon after its last page was closed."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles

from .gate import PRESENCE
from .session import current_session

STATIC = Path(__file__).parent / "static"


def mount_presence(app: FastAPI) -> None:
    """Add the address that open pages call, and the files (scripts, style) that they share."""

    @app.post(PRESENCE)
    def still_open(request: Request) -> Response:
        current_session(request)
        return Response(status_code=204)

    app.mount("/local", StaticFiles(directory=STATIC))
