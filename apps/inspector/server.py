"""The server: FastAPI behind the gate, Gradio mounted for the page, routes of our own for everything with data."""

import asyncio
import contextlib
import ipaddress
import os
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route

from rsd_med.base.errors import DataError, ProtocolError

from .compute.confined import get_ready
from .compute.jobs import JobQueue
from .compute.tasks import run_worker
from .page.desk import Desk
from .page.run_files import mount_run_files
from .reading.routes import mount_reading
from .settings import ServerSettings
from .study.routes import mount_study
from .viewer.routes import mount_viewer
from .web.gate import Gate
from .web.login import login_routes
from .web.presence import STATIC, mount_presence
from .web.quiet_log import quieten_gradio
from .web.routes import artefact_routes
from .web.session import Session, SessionStore
from .web.uploads import upload_routes
from .web.users import COMMAND, Users

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
LAB = "/lab"
"""Where the pages are for those who train: samples, runs."""
SWEEP_SECONDS = 15.0
PAGES = 512
"""Open pages that Gradio remembers. It keeps some 160 KiB of settings for each page that was ever opened, closed ones
too, 10,000 of them if not told otherwise; one that is forgotten while open is set up afresh at its next request."""


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
            f"{COMMAND} FILE NAME, then --users FILE (and TLS: --certificate, --key, or a proxy)."
        )
    users = None if settings.users is None else Users(settings.users)
    harden_environment()
    queue = JobQueue(run_worker, (settings.run, settings.threads))

    def end_jobs(session: Session) -> None:
        queue.cancel_all(session.name)
        with contextlib.suppress(DataError):  # a server that goes down remembers nothing
            queue.submit(session.name, "forget", folder=str(session.folder))

    store = SessionStore(on_end=end_jobs, port=settings.port)
    desk = Desk(store, queue)
    os.environ["GRADIO_TEMP_DIR"] = str(store.root)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        queue.start()
        get_ready()
        desk.prepare(settings.demo)
        sweeping = asyncio.create_task(_sweep(store))
        yield
        sweeping.cancel()
        await asyncio.to_thread(queue.close)
        await asyncio.to_thread(store.close)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.include_router(artefact_routes())
    app.include_router(upload_routes())
    mount_presence(app)
    app.include_router(login_routes(store, users, secure=settings.secure))
    mount_viewer(app)
    mount_study(app, settings.study)
    mount_reading(app, desk, settings)
    mount_run_files(app, (settings.run, *settings.compare))
    page, calls = _mount_page(app, settings, store, queue)
    names = frozenset(name.lower() for name in (*LOOPBACK, settings.host, *settings.names))
    gate = Gate(
        page,
        store,
        names,
        logins=users is not None,
        secure=settings.secure,
        upload_bytes=settings.upload_bytes,
        calls=calls,
    )
    return gate, store, queue


def _mount_page(
    app: FastAPI, settings: ServerSettings, store: SessionStore, queue: JobQueue
) -> tuple[FastAPI, dict[int, int]]:
    """Return the app with the page in it, and the page's functions: number, and number of inputs."""
    import gradio

    from .page.page import build_page, theme  # after the environment is hardened, which Gradio reads

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
    quieten_gradio()
    # The page for reading stands at "/"; Gradio's, which knows no other address of its own, is shown under another.
    app.router.routes.insert(0, Route(LAB, Elsewhere(app.router.routes[-1].app)))  # type: ignore[attr-defined]
    return mounted, {number: len(function.inputs) for number, function in page.fns.items()}


class Elsewhere:
    """An application that is called under an address of ours, and believes it is at its own.

    Parameters
    ----------
    app
        The application.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand a request on."""
        await self.app({**scope, "path": "/", "raw_path": b"/"}, receive, send)


async def _sweep(store: SessionStore) -> None:
    """End the sessions that nobody uses any more."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        await asyncio.to_thread(store.sweep)
