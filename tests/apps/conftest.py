"""A server with one session, and Chromium that can reach nothing but this machine."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class Served:
    """The viewer, and perhaps a study, behind the app's gate; on a port of its own, with one session."""

    def __init__(self, folder: Path, study: Path | None = None) -> None:
        uvicorn = pytest.importorskip("uvicorn", reason="The app's packages are not installed: pip install '.[app]'.")
        from fastapi import FastAPI

        from apps.inspector.study.routes import mount_study
        from apps.inspector.viewer.routes import mount_viewer
        from apps.inspector.web.gate import Gate
        from apps.inspector.web.presence import mount_presence
        from apps.inspector.web.session import SessionStore

        folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.store = SessionStore(folder, port=self.port)
        self.session = self.store.create()
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        mount_viewer(app)
        mount_presence(app)
        self.study = mount_study(app, study)
        gate = Gate(app, self.store, frozenset({"127.0.0.1"}))
        self.server = uvicorn.Server(
            uvicorn.Config(gate, host="127.0.0.1", port=self.port, log_level="error", ws="none")
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cookie(self) -> dict[str, str]:
        """What makes a browser this session's."""
        return {self.store.cookie: self.session.token}

    def client(self):
        """Return an HTTP client of this session."""
        import httpx

        return httpx.Client(base_url=self.address, trust_env=False, cookies=self.cookie)

    def show(self, *panes, query: str = "") -> str:
        return f"{self.address}/viewer?panes=" + ",".join(pane.artefact for pane in panes) + query

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.store.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("sessions"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def launch(chromium_program) -> Iterator:
    """Start Chromiums that reach nothing but this machine; WebGL is drawn in software."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed.")
    own = ("--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    with sync_api.sync_playwright() as playwright, contextlib.ExitStack() as stack:

        def start(*flags):
            browser = playwright.chromium.launch(executable_path=chromium_program, args=[*own, *flags])
            stack.callback(browser.close)
            return browser

        yield start


@pytest.fixture(scope="module")
def chromium(launch):
    return launch("--enable-unsafe-swiftshader")


@contextlib.contextmanager
def quiet_pages(browser):
    """Open pages that must stay quiet: no message in the console, no failed request, nothing asked of another host."""
    complaints: list[str] = []

    def hear(message):
        # Graphics in software remark that taking a screenshot makes them wait.
        if "GPU stall due to ReadPixels" not in message.text:
            complaints.append(f"console: {message.text}")

    with contextlib.ExitStack() as stack:

        def open_page(server: Served, address: str, width: int = 1280, height: int = 800, **options):
            context = browser.new_context(viewport={"width": width, "height": height}, **options)
            context.add_cookies(
                [{"name": name, "value": v, "url": server.address} for name, v in server.cookie.items()]
            )
            context.set_default_timeout(90_000)
            stack.callback(context.close)
            page = context.new_page()
            page.on("console", hear)
            page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
            page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url} {request.failure}"))
            page.on(
                "request",
                lambda request: (
                    None
                    if request.url.startswith(("http://127.0.0.1:", "data:", "blob:"))
                    else complaints.append(f"outside: {request.url}")
                ),
            )
            page.goto(address)
            return page

        yield open_page
    assert complaints == []


@pytest.fixture
def opened(chromium):
    with quiet_pages(chromium) as open_page:
        yield open_page
