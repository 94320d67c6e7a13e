"""The addresses of the page for reading. Every scan is looked up among those of the session that the cookie names.

- ``GET /`` is the page; ``GET /?scan=ID`` opens one of the session's scans.
- ``POST /reading/open``: ``{"upload": id, "item": n}`` or ``{"example": n}`` -> the scan.
- ``POST /reading/work``: ``{"scan", "slices", "acceleration", "methods", "samples"}`` -> the scan; work goes on.
- ``POST /reading/stop``: ``{"scan"}``.
- ``GET /reading/scans`` lists the open ones; ``GET /reading/scan/ID?since=N`` waits until something has changed.
- ``GET /reading/slice/ID/N?acceleration=A`` is all that is known of one slice.
- ``GET /reading/volume/ID/METHOD?acceleration=A`` is a method's whole volume as NIfTI.
- ``GET /reading/static/…``: the page's own scripts and styles.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from rsd_med.base.errors import DataError

from ..compute.methods import TITLES
from ..page.desk import Desk, one_of, whole
from ..settings import ServerSettings
from ..viewer.page import POLICY
from ..web.session import current_session
from .account import account_of, slice_account
from .cases import ACCELERATIONS, AS_MEASURED, NOTHING_DONE, case_of, cases_of, use
from .page import STATIC, page_html
from .working import EXAMPLES, Work, open_example, open_upload, whole_volume

SAMPLES = (1, 4, 8, 16)
METHODS = tuple(name for name in TITLES if name != NOTHING_DONE)
WAIT_SECONDS = 20.0
MOST_SLICES = 512
_HEADERS = {"Cache-Control": "no-store"}


def mount_reading(app: FastAPI, desk: Desk, settings: ServerSettings) -> None:
    """Add the page and its routes to the app."""
    app.mount("/reading/static", StaticFiles(directory=STATIC), name="reading-static")
    app.include_router(reading_routes(desk, settings))


def reading_routes(desk: Desk, settings: ServerSettings) -> APIRouter:
    """Return the routes; see the module."""
    routes = APIRouter()
    going_on: set[asyncio.Task[None]] = set()

    def start(work: Work, slices: list[int], methods: list[str], samples: int) -> None:
        task = asyncio.create_task(work.do(slices, methods, samples))
        going_on.add(task)  # the loop itself holds tasks but weakly
        task.add_done_callback(going_on.discard)

    @routes.get("/")
    def page(request: Request) -> HTMLResponse:
        current_session(request)
        return HTMLResponse(page_html(settings), headers={**_HEADERS, "Content-Security-Policy": POLICY})

    @routes.post("/reading/open")
    async def open_scan(request: Request) -> JSONResponse:
        session, asked = current_session(request), await _asked(request)
        with refusals():
            if "example" in asked:
                number = whole(asked["example"], 0, EXAMPLES - 1, "The example")
                same = [case for case in cases_of(session).values() if case.source == number]
                case = same[0] if same else await open_example(desk, session, number)
                use(session, case)
            else:
                item = asked.get("item")
                number_or_none = None if item is None else whole(item, 0, 1_000_000, "The slice")
                case = await open_upload(session, str(asked.get("upload")), number_or_none)
        return JSONResponse(account_of(session, case), headers=_HEADERS)

    @routes.post("/reading/work")
    async def work(request: Request) -> JSONResponse:
        session, asked = current_session(request), await _asked(request)
        with refusals():
            case = case_of(session, asked.get("scan"))
            slices = _slices(asked.get("slices"), case.count)
            acceleration = one_of(asked.get("acceleration", AS_MEASURED), ACCELERATIONS, "The acceleration")
            methods = asked.get("methods", [])
            if not isinstance(methods, list):
                raise DataError("Methods come as a list.")
            chosen = [one_of(method, METHODS, "A method") for method in methods]
            samples = one_of(asked.get("samples", 4), SAMPLES, "The number of samples")
            use(session, case)
            start(Work(desk, session, case, acceleration), slices, chosen, samples)
        return JSONResponse(account_of(session, case, acceleration), headers=_HEADERS)

    @routes.post("/reading/stop")
    async def stop(request: Request) -> JSONResponse:
        session, asked = current_session(request), await _asked(request)
        with refusals():
            case = case_of(session, asked.get("scan"))
            case.turn += 1
            case.changed(busy="", progress=None, problem="Stopped.")
        return JSONResponse(account_of(session, case), headers=_HEADERS)

    @routes.get("/reading/scans")
    def scans(request: Request) -> JSONResponse:
        session = current_session(request)
        listed = [account_of(session, case) for case in reversed(cases_of(session).values())]
        return JSONResponse({"scans": listed, "examples": EXAMPLES}, headers=_HEADERS)

    @routes.get("/reading/scan/{name}")
    async def scan(request: Request, name: str, since: int = 0, acceleration: str = AS_MEASURED) -> JSONResponse:
        session = current_session(request)
        with refusals(), session.waiting():
            case = case_of(session, name)
            for _ in range(int(WAIT_SECONDS / 0.1)):
                if case.version > since or session.ended:
                    break
                await asyncio.sleep(0.1)
            speed = one_of(acceleration, ACCELERATIONS, "The acceleration")
            return JSONResponse(account_of(session, case, speed), headers=_HEADERS)

    @routes.get("/reading/slice/{name}/{number}")
    def one_slice(request: Request, name: str, number: int, acceleration: str = AS_MEASURED) -> JSONResponse:
        session = current_session(request)
        with refusals():
            case = case_of(session, name)
            speed = one_of(acceleration, ACCELERATIONS, "The acceleration")
            return JSONResponse(slice_account(case, whole(number, 0, case.count - 1, "The slice"), speed))

    @routes.get("/reading/volume/{name}/{method}")
    def volume(request: Request, name: str, method: str, acceleration: str = AS_MEASURED) -> Response:
        session = current_session(request)
        with refusals():
            case = case_of(session, name)
            speed = one_of(acceleration, ACCELERATIONS, "The acceleration")
            artefact = whole_volume(session, case, speed, one_of(method, METHODS, "A method"))
        return RedirectResponse(f"/artefact/{artefact}/file?keep=true", headers=_HEADERS)

    return routes


@contextmanager
def refusals() -> Iterator[None]:
    """Answer a `DataError` with its sentence."""
    try:
        yield
    except DataError as error:
        raise HTTPException(422, str(error)) from error


async def _asked(request: Request) -> dict[str, Any]:
    try:
        asked = await request.json()
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise HTTPException(422, "That request cannot be read.")
    return asked


def _slices(asked: Any, count: int) -> list[int]:
    if not isinstance(asked, list) or not 1 <= len(asked) <= MOST_SLICES:
        raise DataError(f"Ask for one to {MOST_SLICES} slices.")
    return [whole(number, 0, count - 1, "The slice") for number in asked]
