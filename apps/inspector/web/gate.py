"""What every request passes before anything else sees it: host, origin, path, size, session, login.

The list of paths is a list of what is let through. Gradio's own file, upload, proxy and API routes are not on it: they
know no owners (whoever has the address of a cached file may read it), so the app has routes of its own for both.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException

from rsd_med.base.errors import DataError

from .cookies import is_from_elsewhere, is_opened, read_cookie, session_cookie
from .session import Session, SessionStore

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Gradio's front end builds functions from text (templates of gr.HTML), hence 'unsafe-eval'; nothing may leave for, or
# come from, another host, whatever a script does.
CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "connect-src 'self' blob: data:",
        "worker-src 'self' blob:",
        "font-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
SECURITY_HEADERS = {
    b"content-security-policy": CONTENT_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"SAMEORIGIN",
    # Not no-referrer: under that, a form's request says "Origin: null", and the login would be taken for a foreign one.
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=(), clipboard-read=()",
}
PRESENCE = "/session/open"
"""The request that an open page repeats. It keeps the session alive, but does not count as use of it."""
BODY_LIMIT = 1 << 20
"""Bytes of a request that is no upload."""

# Without a session: what a page needs before it has one (browsers ask for the manifest without cookies), and nothing
# that anybody made.
_OPEN = re.compile(
    r"/(login|static/.*|local/.*|assets/.*|svelte/.*|favicon\.ico|manifest\.json|theme\.css|health|niivue(/[\w.]+)?)"
)
_GRADIO = re.compile(
    r"/|/config/?|/robots\.txt"
    r"|/gradio_api/(queue/(join|data)|cancel|reset/?|app_id/?|startup-events|theme\.css)"
)
_OWN = re.compile(r"/(artefact|viewer|study|upload|session|logout|run|reading|lab)(/.*)?")
_ANSWERS = "/gradio_api/queue/data"
_JOIN = "/gradio_api/queue/join"
_UPLOAD = "/upload"
BEGINNINGS = ("/", "/lab", "/study")
"""Pages that may be opened without a session: it begins with them."""
GONE = "This page's session has ended, and what it held is gone; reload the page to begin a new one."


class RefusedError(HTTPException):
    """A request that goes no further; raised inside the app (by a body that grows too long), the app answers so."""


class Gate:
    """The middleware.

    Parameters
    ----------
    app
        Everything behind.
    store
        The sessions.
    hosts
        Names that requests may address this server by, without port, lower case.
    logins
        Whether only users who have logged in may see anything.
    secure
        Whether the server speaks TLS, so that its cookie must too.
    upload_bytes
        Largest upload.
    calls
        Numbers of the page's functions, with the number of inputs of each: no other is called. None: all are.
    """

    def __init__(
        self,
        app: Application,
        store: SessionStore,
        hosts: frozenset[str],
        *,
        logins: bool = False,
        secure: bool = False,
        upload_bytes: int = 512 << 20,
        calls: Mapping[int, int] | None = None,
    ) -> None:
        self.app = app
        self.store = store
        self.hosts = hosts
        self.logins = logins
        self.secure = secure
        self.upload_bytes = upload_bytes
        self.calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, give it its session, and put the security headers on the answer."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        cookie: bytes | None = None

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = [(name, value) for name, value in message["headers"] if name.lower() != b"server"]
                # A part with a policy of its own (the viewer's frame has a stricter one) keeps it.
                there = {name.lower() for name, _ in sent}
                sent += [(name, value) for name, value in SECURITY_HEADERS.items() if name not in there]
                if cookie is not None:
                    sent.append((b"set-cookie", cookie))
                message["headers"] = sent
            await send(message)

        try:
            headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
            path = self._check(scope, headers)
            session = self.store.find(read_cookie(headers.get(b"cookie"), self.store.cookie), used=path != PRESENCE)
            if self.logins and session is not None and session.user is None:
                session = None
            if session is None and path in BEGINNINGS and is_opened(scope["method"], headers):
                if self.logins:
                    where = b"/login" if path == "/" else f"/login?to={path[1:]}".encode()
                    await _answer(send_guarded, path, 303, "", {b"location": where})
                    return
                session = self.store.create()
                cookie = session_cookie(session.token, self.store.cookie, secure=self.secure).encode()
            if session is None and not _OPEN.fullmatch(path):
                raise RefusedError(401 if self.logins else 403, GONE)
            scope["inspector.session"] = session
            limited = self._limit(scope, headers, receive, path)
            if session is not None:
                if scope["method"] == "POST" and path != PRESENCE:
                    self.store.begin(session)
                limited = await self._check_page(scope, path, session, limited)
            await self._pass(scope, limited, send_guarded, path, session)
        except RefusedError as refusal:
            await _answer(send_guarded, scope["path"], refusal.status_code, refusal.detail)
        except DataError as error:
            await _answer(send_guarded, scope["path"], 503, str(error))

    def _check(self, scope: Scope, headers: dict[bytes, str]) -> str:
        """Check host, origin and path; return the path."""
        host = headers.get(b"host", "")
        if _name_of(host) not in self.hosts:
            raise RefusedError(400, "This server does not answer to that host name.")
        path: str = scope["path"]
        if "\\" in path or "\0" in path or ".." in path.split("/") or "//" in path:
            raise RefusedError(400, "This is no address of this server.")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise RefusedError(405, "This server reads and takes requests; it does nothing else.")
        if scope["method"] == "POST":
            origin = headers.get(b"origin")
            foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
            if foreign or headers.get(b"sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                raise RefusedError(403, "Requests from other pages are refused.")
        elif is_from_elsewhere(headers) and not (_OPEN.fullmatch(path) or is_opened(scope["method"], headers)):
            raise RefusedError(403, "Requests from other pages are refused.")
        if not (_OPEN.fullmatch(path) or _GRADIO.fullmatch(path) or _OWN.fullmatch(path)):
            raise RefusedError(404, "not found")
        return path

    def _limit(self, scope: Scope, headers: dict[bytes, str], receive: Receive, path: str) -> Receive:
        """Refuse a body that is too long, whether it says so or not."""
        most = self.upload_bytes if path == _UPLOAD else BODY_LIMIT
        declared = headers.get(b"content-length", "0")
        if not declared.isdigit() or int(declared) > most:
            raise RefusedError(413, f"That is too large: at most {most >> 20} MiB are taken.")
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:
                raise RefusedError(413, f"That is too large: at most {most >> 20} MiB are taken.")
            return message

        return counted

    async def _check_page(self, scope: Scope, path: str, session: Session, receive: Receive) -> Receive:
        """Refuse a request in the name of another user's page: Gradio tells pages apart by a name they choose."""
        name = None
        if path == _ANSWERS:
            name = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [None])[0]
        if scope["method"] == "POST" and path.startswith("/gradio_api/"):
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if message["type"] != "http.request" or not message.get("more_body"):
                    break
            name = self._read_call(path, body)
            replayed = False

            async def replay() -> Message:
                nonlocal replayed
                if replayed:
                    return await receive()
                replayed = True
                return {"type": "http.request", "body": body, "more_body": False}

            receive = replay
        if name is not None:
            self._claim(name, session, new=path == _JOIN)
        return receive

    def _read_call(self, path: str, body: bytes) -> str | None:
        """Return the name of the page that calls; refuse what no page of ours would send."""
        try:
            content = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise RefusedError(400, "That request cannot be read.")
        name = content.get("session_hash")
        if path == _JOIN and self.calls is not None:
            number, data = content.get("fn_index"), content.get("data")
            inputs = self.calls.get(number) if isinstance(number, int) else None
            if name is None or inputs is None or not isinstance(data, list) or len(data) != inputs:
                raise RefusedError(404, "This page does nothing of that kind; reload it.")
        return name

    def _claim(self, name: Any, session: Session, *, new: bool) -> None:
        """Give a page's name to the session that uses it first; only what asks for something (``new``) is a page."""
        if not isinstance(name, str) or len(name) > 64:
            raise RefusedError(400, "That request cannot be read.")
        owner = self.store.owner_of(name)
        if owner is not None and owner is not session:
            raise RefusedError(403, "That page belongs to another session.")
        if owner is None and not new:
            raise RefusedError(404, "That page has asked for nothing.")
        self.store.own(name, session)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, path: str, session: Session | None) -> None:
        """Hand a request on; a session that waits for an answer is in use, however long it takes."""
        if session is None or path != _ANSWERS:
            await self.app(scope, receive, send)
            return
        with session.waiting():
            await self.app(scope, receive, send)


def _name_of(host: str) -> str:
    """Return the name in a Host header without its port; "" for anything that is none."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?", host)
    return match[1].lower() if match else ""


async def _answer(send: Send, path: str, status: int, sentence: str, headers: dict[bytes, bytes] | None = None) -> None:
    """Answer with a sentence: as JSON where Gradio's page asks, which takes nothing else."""
    body, kind = sentence.encode(), b"text/plain; charset=utf-8"
    if path.startswith("/gradio_api/"):
        body, kind = json.dumps({"detail": sentence}).encode(), b"application/json"
    fields = {b"content-type": kind, b"content-length": str(len(body)).encode(), **(headers or {})}
    await send({"type": "http.response.start", "status": status, "headers": list(fields.items())})
    await send({"type": "http.response.body", "body": body})
