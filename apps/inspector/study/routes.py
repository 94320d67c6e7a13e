"""The study's addresses.

- ``GET /study`` is the page readers work in.
- ``POST /study/begin`` names the reader and gives the PIN, ``POST /study/leave`` ends that.
- ``GET /study/next`` describes the question that is open, and with ``?back=true`` the one before, whose answer can be
  changed.
- ``GET /study/image/ID/AXIS/N`` is a slice of an image of that question, float32; no other image can be fetched.
- ``POST /study/answer`` saves an answer.
- ``POST /study/analysis`` shows the coordinator the tables, ``POST /study/answers.csv`` the answers.
"""

import asyncio
import html
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles

from rsd_med.base.errors import DataError

from ..notice import NOTICE
from ..viewer.page import POLICY
from ..web.session import Session, current_session
from ..web.throttle import Throttle, peer_of
from .analysis import CAVEAT, analyse
from .study import Study
from .tables import Table

STATIC = Path(__file__).parent / "static"
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_PAGE_HEADERS = {**_HEADERS, "Content-Security-Policy": POLICY}


def mount_study(app: FastAPI, path: Path | None) -> Study | None:
    """Add a study's routes to the app; without a study there are none.

    Parameters
    ----------
    app
        The app, whose gate gives every request its session.
    path
        ``study.yaml``, or None.

    Raises
    ------
    ProtocolError, DataError
        If the study, its images or its answers are not as they should be.
    """
    if path is None:
        return None
    study = Study(path.resolve())
    app.mount("/study/static", StaticFiles(directory=STATIC), name="study-static")
    app.include_router(_routes(study))
    return study


class Seats:
    """Which reader sits at which session: known here, so that no request can speak for another reader."""

    def __init__(self, study: Study, throttle: Throttle) -> None:
        self._study = study
        self._readers: dict[str, str] = {}
        self._throttle = throttle

    def take(self, session: Session, reader: str, pin: str, peer: str) -> str | None:
        """Seat a reader: with logins under their own name, otherwise by the PIN.

        Returns
        -------
        str or None
            The reader; None if that cannot be.

        Raises
        ------
        DataError
            After too many wrong PINs.
        """
        if session.user is not None:
            reader = session.user
            known = reader in self._study.settings.readers
        else:
            self._throttle.begin(reader, peer)
            known = self._study.is_reader(reader, pin)
            if known:
                self._throttle.forgive(reader, peer)
        if not known:
            return None
        self._readers[session.name] = reader
        return reader

    def is_taken(self, session: Session) -> bool:
        """Whether a reader has begun in a session."""
        return session.name in self._readers

    def leave(self, session: Session) -> None:
        """Let the next reader begin in a session."""
        self._readers.pop(session.name, None)

    def reader(self, request: Request) -> str:
        """Return who asks; 409 if nobody has begun in this session."""
        reader = self._readers.get(current_session(request).name)
        if reader is None:
            raise HTTPException(409, "begin first")
        return reader


async def _json(request: Request) -> dict[str, Any]:
    # A form of another site can send text, but not this type without asking first.
    if request.headers.get("content-type", "").split(";")[0] != "application/json":
        raise HTTPException(415, "JSON is wanted")
    try:
        given = await request.json()
    except ValueError:
        raise HTTPException(400, "this is no JSON") from None
    if not isinstance(given, dict):
        raise HTTPException(400, "this is no answer")
    return given


def _routes(study: Study) -> APIRouter:
    routes = APIRouter()
    throttle = Throttle()
    seats = Seats(study, throttle)

    @routes.get("/study")
    def page(request: Request) -> HTMLResponse:
        session = current_session(request)
        return HTMLResponse(_page(study, session.user, seated=seats.is_taken(session)), headers=_PAGE_HEADERS)

    @routes.post("/study/begin")
    async def begin(request: Request) -> Response:
        given = await _json(request)
        name, pin = str(given.get("reader", ""))[:64], str(given.get("pin", ""))[:64].strip()
        try:
            reader = seats.take(current_session(request), name, pin, _peer(request))
        except DataError as error:
            return PlainTextResponse(str(error), 429)
        if reader is None:
            return PlainTextResponse("This reader and this PIN do not belong together; ask the coordinator.", 403)
        return JSONResponse({"reader": reader}, headers=_HEADERS)

    @routes.post("/study/leave")
    def leave(request: Request) -> Response:
        seats.leave(current_session(request))
        return Response(status_code=204)

    @routes.get("/study/next")
    def following(request: Request, back: bool = False) -> Response:
        try:
            return JSONResponse(study.describe(seats.reader(request), back=back), headers=_HEADERS)
        except DataError as error:
            return PlainTextResponse(str(error), 500)

    @routes.get("/study/image/{opaque}/{axis}/{number}")
    def image(request: Request, opaque: str, axis: int, number: int) -> Response:
        volume = study.image(seats.reader(request), opaque)
        if volume is None or axis not in (0, 1, 2) or not 0 <= number < volume.shape[axis]:
            raise HTTPException(404, "not found")
        values = np.ascontiguousarray(volume.take(number, axis=axis), dtype="<f4")
        return Response(values.tobytes(), media_type="application/octet-stream", headers=_HEADERS)

    @routes.post("/study/answer")
    async def answer(request: Request) -> Response:
        given = await _json(request)
        reader = seats.reader(request)
        try:
            # In a thread: the disk takes its time, and nobody else should wait for it.
            saved = await asyncio.to_thread(study.answer, reader, current_session(request).name, given)
        except DataError as error:
            return PlainTextResponse(str(error), 422)
        if not saved:
            return PlainTextResponse("This question has been answered already.", 409)
        return JSONResponse({"saved": True}, headers=_HEADERS)

    @routes.post("/study/analysis")
    async def analysis(request: Request) -> Response:
        await _require_coordinator(study, throttle, request)
        return HTMLResponse(await asyncio.to_thread(_analysis, study), headers=_PAGE_HEADERS)

    @routes.post("/study/answers.csv")
    async def answers(request: Request) -> Response:
        await _require_coordinator(study, throttle, request)
        attachment = {"Content-Disposition": f'attachment; filename="{study.settings.name}.csv"'}
        return Response(
            await asyncio.to_thread(study.csv), media_type="text/csv; charset=utf-8", headers={**_HEADERS, **attachment}
        )

    return routes


async def _require_coordinator(study: Study, throttle: Throttle, request: Request) -> None:
    current_session(request)
    form = await request.form(max_files=0, max_fields=4)
    try:
        throttle.begin("coordinator", _peer(request))
    except DataError as error:
        raise HTTPException(429, str(error)) from error
    if not study.is_coordinator(str(form.get("code", ""))[:100].strip()):
        raise HTTPException(403, "this is not the coordinator's code")
    throttle.forgive("coordinator", _peer(request))


def _peer(request: Request) -> str:
    return "" if request.client is None else peer_of(request.client.host)


def _page(study: Study, user: str | None, *, seated: bool) -> str:
    settings = study.settings
    readers = settings.readers if user is None else tuple(name for name in settings.readers if name == user)
    return Template((STATIC / "study.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(settings.title),
        instructions="".join(
            f"<p>{html.escape(part)}</p>" for part in settings.instructions.split("\n") if part.strip()
        ),
        prompt=html.escape(settings.question.prompt),
        kind=settings.question.kind,
        confidence=str(settings.confidence).lower(),
        comments=str(settings.comments).lower(),
        seated=str(seated).lower(),
        pin="hidden" if user is not None else "",
        readers="".join(f"<option>{html.escape(name)}</option>" for name in readers),
        notice=html.escape(NOTICE),
    )


def _analysis(study: Study) -> str:
    try:
        tables = "".join(_table(table) for table in analyse(study.settings, study.answers()))
    except DataError as error:
        tables = f'<p role="alert">{html.escape(str(error))}</p>'
    return Template((STATIC / "analysis.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(study.settings.name),
        tables=tables,
        caveat=html.escape(CAVEAT),
        code=html.escape(study.coordinator_code),
        notice=html.escape(NOTICE),
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in table.columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    return (
        f"<h2>{html.escape(table.title)}</h2><div class='scroll' tabindex='0' role='region' "
        f"aria-label='{html.escape(table.title)}'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
