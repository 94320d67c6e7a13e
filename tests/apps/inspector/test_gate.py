"""The attack list, asked of a real server through the gate: nothing here may get through."""

import asyncio
import http.client
import json
import socket
import threading
import time

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.web.gate import Gate
from apps.inspector.web.routes import artefact_routes
from apps.inspector.web.session import CLOSED_SECONDS, IDLE_SECONDS, SessionStore
from apps.inspector.web.stored import add_file, add_volume
from apps.inspector.web.uploads import upload_routes, uploaded_path
from rsd_med.base.errors import DataError

LIMIT = 3 << 20


class Site:
    """The gate before our own routes, and before stand-ins for Gradio's that tell whether they were reached."""

    def __init__(self, folder, **connection) -> None:
        import uvicorn
        from fastapi import FastAPI, Request
        from fastapi.responses import PlainTextResponse

        from apps.inspector.viewer.routes import mount_viewer
        from apps.inspector.web.presence import mount_presence

        self.store = SessionStore(folder)
        self.slow = threading.Event()
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.include_router(artefact_routes())
        app.include_router(upload_routes())
        mount_viewer(app)
        mount_presence(app)

        @app.api_route("/{path:path}", methods=["GET", "POST"])
        async def anything(request: Request, path: str) -> PlainTextResponse:
            if request.query_params.get("session_hash") == "slow":
                await asyncio.to_thread(self.slow.wait, 30)
            return PlainTextResponse(f"reached {path} {len(await request.body())}")

        hosts = frozenset({"127.0.0.1", "localhost"})
        gate = Gate(app, self.store, hosts, upload_bytes=LIMIT, calls={0: 0, 7: 2})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.server = uvicorn.Server(
            uvicorn.Config(
                gate,
                host="127.0.0.1",
                port=self.port,
                log_level="error",
                ws="none",
                server_header=False,
                **connection,
            )
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def ask(self, path, method="GET", body=None, session=None, **headers):
        """Send a request as it is written, without a client's good manners."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if session is not None:
            fields["Cookie"] = f"{self.store.cookie}={session.token}"
        connection.putrequest(method, path, skip_host="Host" in fields)
        if body is not None and "Transfer-Encoding" not in fields:
            fields.setdefault("Content-Length", str(len(body)))
        for name, value in fields.items():
            connection.putheader(name, value)
        connection.endheaders()
        try:
            if body is not None:
                connection.send(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the end, as it should be
        answer = connection.getresponse()
        answer.content = answer.read()
        connection.close()
        return answer

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.store.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    found = Site(tmp_path_factory.mktemp("sessions"))
    yield found
    found.stop()


@pytest.fixture
def session(site):
    return site.store.create()


@pytest.mark.parametrize(
    "path",
    [
        "/local/../server.py",
        "/local/..%2fserver.py",
        "/local/%2e%2e/%2e%2e/session.py",
        "/local/..\\session.py",
        "/local/..%5csession.py",
        "//etc/passwd",
        "/artefact/../../../../etc/passwd/file",
        "/artefact/%2fetc%2fpasswd/file",
        "/viewer/static/../routes.py",
        "/viewer/static/%2e%2e%2froutes.py",
        "/local/%00",
    ],
)
def test_no_path_leads_out(site, session, path):
    answer = site.ask(path, session=session)
    assert answer.status in (400, 404)
    assert b"import" not in answer.content
    assert b"root:" not in answer.content


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/proxy=http://example.org/",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/call/anything",
        "/gradio_api/run/predict",
        "/gradio_api/upload_progress",
        "/gradio_api/component_server",
        "/monitoring",
        "/gradio_api/vibe-code/",
        "/gradio_api/runs",
        "/docs",
        "/openapi.json",
    ],
)
def test_gradios_own_doors_are_shut(site, session, path):
    assert site.ask(path, session=session).status in (400, 404)
    assert site.ask(path, "POST", b"{}", session=session).status in (400, 404)


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example.org", "localhost:80@example.org", "", "127.0.0.1:x"]
)
def test_a_foreign_host_name_is_refused(site, session, host):
    assert site.ask("/", session=session, Host=host).status == 400


def test_our_own_names_are_answered(site, session):
    for host in ("127.0.0.1", f"localhost:{site.port}", "LOCALHOST"):
        assert site.ask("/", session=session, Host=host).status == 200


def test_requests_from_other_pages_change_nothing(site, session):
    own = f"http://127.0.0.1:{site.port}"
    name = f"127.0.0.1:{site.port}"
    path = "/session/end"
    assert site.ask(path, "POST", b"", session=session, Host=name, Origin="http://example.org").status == 403
    assert site.ask(path, "POST", b"", session=session, Host=name, Origin="null").status == 403
    assert site.ask(path, "POST", b"", session=session, Sec_Fetch_Site="cross-site").status == 403
    assert site.ask(path, "POST", b"", session=session, Sec_Fetch_Site="same-site").status == 403
    assert site.ask(path, "POST", b"", session=session, Host=name, Origin=own).content.startswith(b"reached")
    assert site.ask(path, "PUT", b"", session=session).status == 405


def test_security_headers_are_on_every_answer(site, session):
    for answer in (
        site.ask("/", session=session),
        site.ask("/nothing"),
        site.ask("/", Host="example.org"),
        site.ask("/artefact/x/file", session=session),
    ):
        policy = answer.getheader("content-security-policy")
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "http" not in policy
        assert answer.getheader("x-content-type-options") == "nosniff"
        assert answer.getheader("referrer-policy") == "same-origin"
        assert answer.getheader("server") is None


def test_a_session_begins_with_the_page_alone_and_its_cookie_is_out_of_reach(site):
    answer = site.ask("/")
    cookie = answer.getheader("set-cookie")
    assert cookie.startswith(f"{site.store.cookie}=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    token = cookie.split(";")[0].split("=")[1]
    assert site.store.find(token) is not None
    assert token not in str(site.store.find(token).folder)
    for path in ("/artefact/x/file", "/viewer?panes=x", "/gradio_api/queue/data?session_hash=x", "/config"):
        assert site.ask(path).status == 403
        assert site.ask(path).getheader("set-cookie") is None
    assert site.ask("/local/app.css").status == 200
    assert site.ask("/manifest.json").status == 200  # browsers send no cookie with it


def test_one_user_cannot_have_anothers_things(site, session):
    other = site.store.create()
    pane = add_volume(session, np.eye(4), title="a", unit="", window=(0, 1))
    path = session.new_path(".png")
    path.write_bytes(b"\x89PNG")
    picture = add_file(session, path, "result.png")
    for address in (
        f"/artefact/{picture}/file",
        f"/viewer?panes={pane.artefact}",
        f"/viewer/slice/{pane.artefact}/0/0",
        f"/viewer/still/{pane.artefact}/0/0.png",
    ):
        assert site.ask(address, session=session).status == 200
        assert site.ask(address, session=session).getheader("cache-control") == "no-store"
        assert site.ask(address, session=other).status == 404
        assert site.ask(address).status == 403
    with pytest.raises(ValueError, match="own folder"):
        add_file(other, path, "result.png")
    with pytest.raises(ValueError, match="plain name"):
        add_file(session, path, 'x"; filename="y.exe')


def test_one_user_cannot_listen_to_anothers_page(site, session):
    other = site.store.create()
    body = json.dumps({"session_hash": "abc123", "fn_index": 0, "data": []}).encode()
    assert site.ask("/gradio_api/queue/join", "POST", body, session=session).content == (
        b"reached gradio_api/queue/join " + str(len(body)).encode()
    )
    assert site.ask("/gradio_api/queue/data?session_hash=abc123", session=session).status == 200
    assert site.ask("/gradio_api/queue/data?session_hash=abc123", session=other).status == 403
    for path in ("/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset"):
        assert site.ask(path, "POST", body, session=other).status == 403
    assert site.ask("/gradio_api/queue/join", "POST", b"{", session=other).status == 400


def test_waiting_for_an_answer_keeps_a_session(site, session):
    """Under load an answer may take longer than a closed page is remembered."""

    def age():
        session.last_used = session.last_seen = time.monotonic() - 2 * CLOSED_SECONDS

    body = json.dumps({"session_hash": "slow", "fn_index": 0, "data": []}).encode()
    assert site.ask("/gradio_api/queue/join", "POST", body, session=session).status == 200
    waiting = threading.Thread(
        target=site.ask, args=("/gradio_api/queue/data?session_hash=slow",), kwargs={"session": session}
    )
    waiting.start()
    while session.waits == 0:
        time.sleep(0.005)
    age()
    site.store.sweep()
    assert site.store.peek(session.token) is session
    site.slow.set()
    waiting.join(30)
    assert not waiting.is_alive()
    while session.waits > 0:
        time.sleep(0.005)
    site.store.sweep()  # what it waited for is fetched next
    assert site.store.peek(session.token) is session
    age()
    site.store.sweep()
    assert site.store.peek(session.token) is None


def test_a_page_that_is_only_looked_at_keeps_its_session_for_a_day(site, session):
    now = time.monotonic()
    session.begun = True
    session.last_used = session.last_seen = now - 2 * CLOSED_SECONDS
    assert site.ask("/session/open", "POST", b"", session=session).status == 204
    site.store.sweep()
    assert site.store.peek(session.token) is session
    session.last_used = now - 1.1 * IDLE_SECONDS
    assert site.ask("/session/open", "POST", b"", session=session).status == 204
    site.store.sweep()
    assert site.store.peek(session.token) is None
    assert site.ask("/session/open", "POST", b"", session=session).status == 403


def test_nothing_too_large_is_taken_whatever_it_says(site, session):
    assert site.ask("/upload", "POST", b"", session=session, Content_Length=str(LIMIT + 1)).status == 413
    assert site.ask("/upload", "POST", b"", session=session, Content_Length="-1").status in (400, 413)
    assert site.ask("/session/end", "POST", bytes(2 << 20), session=session).status == 413
    piece = b"\x89HDF\r\n\x1a\n" + bytes(1 << 20)
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for _ in range(5)) + b"0\r\n\r\n"
    assert site.ask("/upload", "POST", chunked, session=session, Transfer_Encoding="chunked").status == 413
    assert not session.uploads
    assert list(session.folder.rglob("*")) == []


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"<html><script>alert(1)</script>", b"\x7fELF" + bytes(500), b"PK\x03\x04" + bytes(500), bytes(1000)),
        b"MATLAB 5.0 MAT-file" + bytes(500),
    ],
)
def test_what_is_no_scan_is_not_kept(site, session, content):
    answer = site.ask("/upload", "POST", content, session=session)
    assert answer.status == 415
    assert b"Only scans" in answer.content
    assert list(session.folder.rglob("*")) == []


def test_an_upload_keeps_neither_its_name_nor_an_owner_but_the_sender(site, session):
    scan = b"\x93NUMPY" + bytes(500)
    answer = site.ask("/upload?name=../../x", "POST", scan, session=session, Content_Disposition="x; filename=/etc/x")
    upload = json.loads(answer.content)["id"]
    path = uploaded_path(session, upload)
    assert path.name == "0000.npy"
    assert path.is_relative_to(session.folder)
    assert path.read_bytes() == scan
    other = site.store.create()
    with pytest.raises(DataError, match="another session"):
        uploaded_path(other, upload)
    assert site.ask(f"/upload?set={upload}", "POST", b"x" * 200, session=other).status == 404
    # Only DICOM comes in several files.
    assert site.ask(f"/upload?set={upload}", "POST", scan, session=session).status == 415
    assert len(list(path.parent.iterdir())) == 1


def test_an_ended_session_leaves_nothing(site, session):
    pane = add_volume(session, np.eye(4), title="a", unit="", window=(0, 1))
    folder = session.folder
    assert folder.stat().st_mode & 0o777 == 0o700
    site.store.end(session)
    assert not folder.exists()
    assert site.ask(f"/viewer/slice/{pane.artefact}/0/0", session=session).status == 403
    with pytest.raises(DataError, match="ended"):
        session.new_path()
