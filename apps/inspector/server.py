"""The server: FastAPI behind the gate, Gradio mounted for the page, routes of our own for everything with data."""

import asyncio
import contextlib
import ipaddress
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from apps.inspector.artefacts import artefact_routes, current_session
from apps.inspector.gate import Gate
from apps.inspector.jobs import JobQueue
from apps.inspector.presence import STATIC, mount_presence
from apps.inspector.session import SessionStore
from apps.inspector.uploads import upload_routes
from apps.inspector.users import Users
from apps.inspector.worker import run_worker
from rsd_med.base.errors import DataError, ProtocolError

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SWEEP_SECONDS = 15.0
PAGES = 512
"""Open pages that Gradio remembers. It keeps some 160 KiB of settings for each page that was ever opened, closed ones
too, 10,000 of them if not told otherwise; one that is forgotten while open is set up afresh at its next request."""


@dataclass(frozen=True)
class ServerSettings:
    """How the server runs.

    Attributes
    ----------
    run
        Folder of the run, or of the demo model.
    demo
        Whether it is the demo model.
    host, port
        Where it listens.
    names
        Further names it is addressed by (a proxy's, say).
    users
        File of logins; required beyond loopback.
    secure
        Whether it speaks TLS.
    upload_bytes
        Largest upload.
    study
        ``study.yaml`` of a reader study, if there is one.
    compare
        Further runs for the training tab.
    """

    run: Path
    demo: bool = False
    host: str = "127.0.0.1"
    port: int = 7860
    names: tuple[str, ...] = ()
    users: Path | None = None
    secure: bool = False
    upload_bytes: int = 512 << 20
    study: Path | None = None
    compare: tuple[Path, ...] = ()
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def harden_environment() -> None:
    """Set what Gradio and its libraries read from the environment, so that nothing there can open a door."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def build_server(settings: ServerSettings) -> tuple[Gate, SessionStore, JobQueue]:
    """Build everything; the caller runs the gate with uvicorn.

    Raises
    ------
    ProtocolError
        When it would listen beyond this machine without logins.
    DataError
        When the file of logins cannot be read.
    """
    if settings.users is None and not is_loopback(settings.host):
        raise ProtocolError(
            f"--host {settings.host}: others on the network could reach this server, so it needs logins: "
            "python -m apps.inspector.users FILE NAME, then --users FILE (and TLS: --certificate, --key, or a proxy)."
        )
    users = None if settings.users is None else Users(settings.users)
    harden_environment()
    store = SessionStore()
    os.environ["GRADIO_TEMP_DIR"] = str(store.root)
    queue = JobQueue(run_worker, (settings.run, settings.threads))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        queue.start()
        sweeping = asyncio.create_task(_sweep(store, queue))
        yield
        sweeping.cancel()
        await asyncio.to_thread(queue.close)
        await asyncio.to_thread(store.close)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.include_router(artefact_routes())
    app.include_router(upload_routes())
    mount_presence(app)
    _add_routes(app, settings, store, queue, users)
    _mount_viewer(app)
    _mount_study(app, settings.study)
    page = _mount_page(app, settings, store, queue)
    names = frozenset(name.lower() for name in (*LOOPBACK, settings.host, *settings.names))
    gate = Gate(
        page,
        store,
        names,
        logins=users is not None,
        secure=settings.secure,
        upload_bytes=settings.upload_bytes,
    )
    app.state.gate = gate
    return gate, store, queue


def _mount_viewer(app: FastAPI) -> None:
    from apps.inspector.viewer.routes import mount_viewer

    mount_viewer(app)


def _mount_study(app: FastAPI, study: Path | None) -> None:
    from apps.inspector.study.routes import mount_study

    mount_study(app, study)


def _mount_page(app: FastAPI, settings: ServerSettings, store: SessionStore, queue: JobQueue) -> FastAPI:
    import gradio

    from apps.inspector.page import build_page, theme

    page = build_page(settings, store, queue)
    page.queue(max_size=256, default_concurrency_limit=64, api_open=False)
    page.state_session_capacity = PAGES
    mounted: FastAPI = gradio.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=settings.host,
        server_port=settings.port,
        allowed_paths=[],
        blocked_paths=["/"],
        max_file_size=1,
        run_history=False,
        footer_links=[],
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        show_error=False,
        favicon_path=str(STATIC / "favicon.svg"),
        theme=theme(),
        # Linked, not handed to Gradio, which would rewrite its selectors.
        head='<link rel="stylesheet" href="/local/app.css"><script src="/local/app.js"></script>'
        '<script src="/local/presence.js"></script>',
    )
    return mounted


def _add_routes(
    app: FastAPI, settings: ServerSettings, store: SessionStore, queue: JobQueue, users: Users | None
) -> None:
    @app.get("/health")
    def health() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.post("/session/end")
    async def end(request: Request) -> Response:
        session = current_session(request)
        queue.cancel_all(session.name)
        await asyncio.to_thread(store.end, session)
        return PlainTextResponse("ended")

    @app.get("/login")
    def login_page() -> Response:
        return HTMLResponse(_login_form()) if users is not None else RedirectResponse("/", 303)

    @app.post("/login")
    async def login(request: Request) -> Response:
        if users is None:
            return RedirectResponse("/", 303)
        form = await request.form(max_files=0, max_fields=4)
        name, password = str(form.get("name", "")), str(form.get("password", ""))
        try:
            right = await asyncio.to_thread(users.check, name, password)
        except DataError as error:
            return HTMLResponse(_login_form(str(error)), 429)
        if not right:
            return HTMLResponse(_login_form("That name and password do not belong together."), 401)
        # A session begins with the login: none that existed before it is carried over.
        session = store.create(name)
        answer = RedirectResponse("/", 303)
        answer.headers["set-cookie"] = app.state.gate.cookie(session).decode()
        return answer

    @app.post("/logout")
    async def logout(request: Request) -> Response:
        session = current_session(request)
        queue.cancel_all(session.name)
        await asyncio.to_thread(store.end, session)
        return RedirectResponse("/login", 303)


def _login_form(problem: str = "") -> str:
    from html import escape

    page = (STATIC / "login.html").read_text(encoding="utf-8")
    return page.replace("{problem}", f'<p role="alert">{escape(problem)}</p>' if problem else "")


async def _sweep(store: SessionStore, queue: JobQueue) -> None:
    """End the sessions that nobody uses any more, with their jobs."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        before = {session.name for session in store}
        await asyncio.to_thread(store.sweep)
        for name in before - {session.name for session in store}:
            queue.cancel_all(name)
