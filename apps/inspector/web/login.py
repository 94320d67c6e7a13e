"""Coming and going: the login page, the end of a session, and whether the server is there."""

import asyncio
from html import escape

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from rsd_med.base.errors import DataError

from .cookies import session_cookie
from .presence import STATIC
from .session import SessionStore, current_session
from .throttle import peer_of
from .users import Users

DESTINATIONS = {"study": "/study", "lab": "/lab"}
"""Where a login may lead besides the page itself."""


def login_routes(store: SessionStore, users: Users | None, *, secure: bool) -> APIRouter:
    """Return the routes.

    Parameters
    ----------
    store
        The sessions.
    users
        Who may log in; None where nobody has to.
    secure
        Whether the session's cookie may travel by TLS alone.
    """
    routes = APIRouter()

    @routes.get("/health")
    def health() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @routes.post("/session/end")
    async def end_session(request: Request) -> Response:
        await asyncio.to_thread(store.end, current_session(request))
        return PlainTextResponse("ended")

    @routes.get("/login")
    def login_page(to: str = "") -> Response:
        return HTMLResponse(_login_form(to=to)) if users is not None else RedirectResponse("/", 303)

    @routes.post("/login")
    async def login(request: Request) -> Response:
        if users is None:
            return RedirectResponse("/", 303)
        form = await request.form(max_files=0, max_fields=4)
        name, password, to = (str(form.get(key, "")) for key in ("name", "password", "to"))
        peer = peer_of(request.client.host) if request.client is not None else ""
        try:
            right = await asyncio.to_thread(users.check, name, password, peer)
        except DataError as error:
            return HTMLResponse(_login_form(str(error), to), 429)
        if not right:
            return HTMLResponse(_login_form("That name and password do not belong together.", to), 401)
        # A session begins with the login: none that existed before it is carried over.
        answer = RedirectResponse(DESTINATIONS.get(to, "/"), 303)
        answer.headers["set-cookie"] = session_cookie(store.create(name).token, store.cookie, secure=secure)
        return answer

    @routes.post("/logout")
    async def logout(request: Request) -> Response:
        await asyncio.to_thread(store.end, current_session(request))
        return RedirectResponse("/login", 303)

    return routes


def _login_form(problem: str = "", to: str = "") -> str:
    page = (STATIC / "login.html").read_text(encoding="utf-8")
    page = page.replace("{to}", escape(to if to in DESTINATIONS else ""))
    return page.replace("{problem}", f'<p role="alert">{escape(problem)}</p>' if problem else "")
