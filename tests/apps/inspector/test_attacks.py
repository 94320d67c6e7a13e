"""Attacks that need no hole, only patience or numbers: nobody else is kept from working, and the log stays short."""

import contextlib
import io
import json
import logging
import socket
import threading
import time

import pytest

pytest.importorskip("uvicorn", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.web import session as sessions
from apps.inspector.web.connections import BACKLOG, RESERVE, Doorkeeper, Limits, limits_here
from apps.inspector.web.quiet_log import LINES, LOGGER, QuietLog
from apps.inspector.web.session import MOST_PAGES, SessionStore
from apps.inspector.web.space import MOST_ARRIVING, Space
from apps.inspector.web.stored import add_file
from apps.inspector.web.throttle import TRIES, TRIES_OF_PEER, Throttle, peer_of
from rsd_med.base.errors import DataError
from tests.apps.inspector.test_gate import Site

PATIENCE = 60
LIMITS = Limits(most=24, most_of_peer=12, header_seconds=0.4, period=0.2, least_bytes=1000)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    running = Site(tmp_path_factory.mktemp("sessions"), http=Doorkeeper(LIMITS))
    yield running
    running.stop()


def connect(site, sent, source="127.0.0.2"):
    """Open a connection from an address of its own, and send something."""
    connection = socket.create_connection(("127.0.0.1", site.port), PATIENCE, source_address=(source, 0))
    with contextlib.suppress(OSError):
        connection.sendall(sent)
    return connection


def is_closed(connection):
    """Wait until the server closes a connection; what it says before is passed over."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    connection.close()
    return True


def test_requests_that_are_never_finished_keep_nobody_out(site):
    half = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "
    held = [connect(site, half) for _ in range(3 * LIMITS.most)]
    assert site.ask("/local/app.css").status == 200  # from another address, at the same time
    whole = b"GET /local/app.css HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with connect(site, whole) as same:
        assert same.recv(100).startswith(b"HTTP/1.1 200")  # and from the same
    assert all(is_closed(connection) for connection in held)
    # Silence, and a head that comes letter by letter, end too.
    silent, slow = connect(site, b""), connect(site, half)
    with contextlib.suppress(OSError):
        for _ in range(400):
            slow.sendall(b"x")
            time.sleep(0.02)
        pytest.fail("the head of a request may take as long as it likes")
    assert is_closed(silent)
    slow.close()
    assert site.ask("/local/app.css").status == 200


def test_a_body_that_trickles_and_an_answer_that_nobody_fetches_are_given_up(site):
    session = site.store.create()
    head = f"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {site.store.cookie}={session.token}\r\n"
    slow = connect(site, head.encode() + b"Content-Length: 100000\r\n\r\n\x93NUMPY" + bytes(500))
    with contextlib.suppress(OSError):
        for _ in range(400):
            slow.sendall(b"x")
            time.sleep(0.02)
        pytest.fail("a body may take as long as it likes")
    slow.close()
    deadline = time.monotonic() + PATIENCE
    while list(session.folder.rglob("*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(session.folder.rglob("*")) == []
    # An answer that nobody fetches.
    path = session.new_path(".png")
    path.write_bytes(bytes(30 << 20))
    address = f"GET /artefact/{add_file(session, path, 'large.png')}/file HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    deaf = connect(site, f"{address}Cookie: {site.store.cookie}={session.token}\r\n\r\n".encode(), "127.0.0.9")
    keeper = site.server.config.http
    while "127.0.0.9" not in keeper.of_peer:
        time.sleep(0.01)
    while "127.0.0.9" in keeper.of_peer:
        time.sleep(0.01)
    deaf.close()
    # A body that comes at a fair pace is taken whole, however many periods it needs.
    fair = connect(site, head.encode() + b"Content-Length: 15500\r\nConnection: close\r\n\r\n\x93NUMPY" + bytes(494))
    for _ in range(15):
        time.sleep(LIMITS.period / 5)
        fair.sendall(bytes(1000))
    assert fair.recv(100).startswith(b"HTTP/1.1 200")
    fair.close()


def test_connections_fit_the_files_that_the_process_may_open(monkeypatch):
    import resource

    allowed = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 2048))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: allowed.append(limits))
    assert limits_here().most == 2048 - RESERVE
    assert allowed == [(2048, 2048)]
    assert BACKLOG < RESERVE
    one, other = "2001:db8:1:2::5", "2001:db8:1:2:ffff::7"
    assert peer_of(one) == peer_of(other) != peer_of("2001:db8:1:3::5")
    assert peer_of("::ffff:10.0.0.1") == peer_of("10.0.0.1")


def test_those_who_ask_for_nothing_make_room():
    closed = []

    class Guest:
        def __init__(self, *, idle):
            self.asks_nothing = lambda: idle
            self.close = lambda: closed.append(self)

    keeper = Doorkeeper(Limits(most=9, most_of_peer=2), frozenset({"10.0.0.9"}))
    busy, first, second = Guest(idle=False), Guest(idle=True), Guest(idle=True)
    assert all(keeper.admit(guest, "10.0.0.1") for guest in (busy, first, second))
    assert closed == [first]
    at_work = Guest(idle=False)
    assert keeper.admit(at_work, "10.0.0.1")
    assert closed == [first, second]
    assert not keeper.admit(Guest(idle=True), "10.0.0.1")  # both are being answered
    assert all(keeper.admit(Guest(idle=False), "10.0.0.9") for _ in range(7))  # a proxy speaks for many
    assert not keeper.admit(Guest(idle=True), "10.0.0.2")
    keeper.leave(at_work, "10.0.0.1")
    assert keeper.admit(Guest(idle=True), "10.0.0.2")
    assert closed == [first, second]


def test_what_goes_wrong_is_one_line_and_not_without_end():
    stream = io.StringIO()
    logger = logging.getLogger(f"{LOGGER}.test")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    logger.addFilter(QuietLog())
    logger.propagate = False
    for number in range(1000):
        try:
            int(f"patient {number}")
        except ValueError:
            logger.exception("A request failed\nInputs: %s", "DOE^JOHN")
    logger.removeHandler(handler)
    lines = stream.getvalue().splitlines()
    assert len(lines) == LINES
    assert "A request failed: ValueError in test_attacks.py" in lines[0]
    assert not any(word in stream.getvalue() for word in ("patient", "DOE", "Traceback"))


def test_other_pages_begin_no_session_and_embed_nothing(site):
    image = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}
    frame = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
    fetched = {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"}
    session, before = site.store.create(), len(site.store)
    for headers in (image, frame, fetched):
        for asking in (None, session):
            answer = site.ask("/?i=1", session=asking, **headers)
            assert answer.status == 403
            assert answer.getheader("set-cookie") is None
    assert len(site.store) == before
    # A link in a wiki is followed: with the session there is, or with a new one.
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert site.ask("/", session=session, **link).getheader("set-cookie") is None
    assert "SameSite=Lax" in site.ask("/", **link).getheader("set-cookie")


def test_sessions_in_which_nothing_was_done_take_nobodys_place(tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "MAX_UNUSED", 5)
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    ended = []
    store = SessionStore(tmp_path, ended.append)
    mine = store.create()
    store.begin(mine)
    crowd = [store.create() for _ in range(50)]
    assert len(store) == 1 + 5
    assert store.peek(mine.token) is mine
    assert list(tmp_path.iterdir()) == []  # they own nothing
    assert ended == []
    store.begin(crowd[-1])
    with pytest.raises(DataError, match="Too many people"):
        store.begin(crowd[-2])
    mine.last_seen = mine.last_used = time.monotonic() - 2 * sessions.SPARE_SECONDS  # closed, and a place is wanted
    store.begin(crowd[-2])
    assert ended == [mine]


def test_made_up_pages_and_calls_cost_nothing_and_reach_nothing(site):
    session = site.store.create()

    def join(page, number=0, data=()):
        body = json.dumps({"session_hash": page, "fn_index": number, "data": list(data)}).encode()
        return site.ask("/gradio_api/queue/join", "POST", body, session=session)

    for page in range(3 * MOST_PAGES):
        site.store.own(f"page{page}", session)
    assert join("mine").status == 200
    assert len(session.pages) == MOST_PAGES
    assert sum(owner is session for owner in site.store._pages.values()) == MOST_PAGES
    for number, data in ((-1, ()), (999, ()), (0, (1,)), (7, (1,)), ("0", ()), (None, ())):
        answer = join("mine", number, data)
        assert answer.status == 404
        assert "reload" in json.loads(answer.content)["detail"]
    assert join("mine", 7, (1, 2)).status == 200
    answer = site.ask("/gradio_api/queue/data?session_hash=nobody", session=session)
    assert answer.status == 404
    assert json.loads(answer.content)["detail"]
    site.store.end(session)
    assert session not in site.store._pages.values()
    gone = site.ask("/gradio_api/queue/join", "POST", b"{}", session=session)
    assert gone.status == 403
    assert "ended" in json.loads(gone.content)["detail"]


def test_uploads_count_while_their_bytes_arrive(site, monkeypatch):
    """Several at once share the room of their session, and what is refused leaves nothing."""
    session = site.store.create()
    monkeypatch.setattr(site.store.space, "session_bytes", 300_000)
    head = f"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {site.store.cookie}={session.token}\r\n"
    begun = [
        connect(site, head.encode() + b"Content-Length: 200000\r\n\r\n\x93NUMPY" + bytes(100_000), source)
        for source in ("127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6")
    ]
    for connection in begun:
        with contextlib.suppress(OSError):
            connection.sendall(bytes(99_994))
    answers = [connection.recv(4096) for connection in begun]
    for connection in begun:
        connection.close()
    whole = sum(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert whole <= 1
    assert any(b"413" in answer[:20] for answer in answers)
    assert sum(path.stat().st_size for path in session.folder.rglob("*") if path.is_file()) <= 300_000
    assert site.store.space.used(session.folder) <= 300_000


def test_the_room_of_all_and_of_the_disk_is_kept(tmp_path):
    space = Space(tmp_path, session_bytes=1000, all_bytes=1500, spare_bytes=0)
    one, other = tmp_path / "one", tmp_path / "other"
    with space.arrival(one) as take, space.arrival(other) as take_other:
        take(900)
        with pytest.raises(DataError, match="This session"):
            take(200)
        with pytest.raises(DataError, match="all sessions"):
            take_other(700)
        assert space.is_short() is False
        take_other(400)
        assert space.is_short() is True
        with contextlib.ExitStack() as more:
            for _ in range(MOST_ARRIVING - 1):
                more.enter_context(space.arrival(one))
            with pytest.raises(DataError, match="on their way"):
                more.enter_context(space.arrival(one))
    assert space.used_by_all() == 0
    with pytest.raises(DataError, match="disk is nearly full"):
        Space(tmp_path, spare_bytes=1 << 60).check(one)


def test_nobody_is_locked_out_by_another_and_tries_at_once_are_all_counted():
    throttle = Throttle()
    results = []

    def guess():
        try:
            throttle.begin("reader", "attacker")
            results.append("tried")
        except DataError:
            results.append("refused")

    threads = [threading.Thread(target=guess) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("tried") == TRIES
    for number in range(TRIES_OF_PEER - TRIES):
        throttle.begin(f"made up {number}", "attacker")
    with pytest.raises(DataError, match="wait"):
        throttle.begin("made up", "attacker")
    for _ in range(3 * TRIES):
        throttle.begin("reader", "at home")  # the reader, who knows the password
        throttle.forgive("reader", "at home")
