"""What happens to a page between two looks at it: nothing is lost. Clocks are turned forward, nobody waits."""

import time

import pytest

pytest.importorskip("fastapi", reason="The app's packages are not installed: pip install '.[app]'.")

from tests.apps.conftest import Served
from tests.apps.study.conftest import write_study

HOUR, MINUTE = 3600, 60
WIKI = "http://wiki.example/"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    running = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        running.append(Served(folder / "sessions", write_study(folder)))
    yield running
    for server in running:
        server.stop()


@pytest.fixture
def context(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(90_000)
    yield context
    context.close()


def begin(page, server):
    """Open the study as a stranger and begin; return the session."""
    page.goto(f"{server.address}/study")
    page.locator("#pin").fill(server.study.pin("r1"))
    page.get_by_role("button", name="Begin or go on").click()
    page.wait_for_selector("#panes[data-ready]")
    return next(session for session in server.store if session.begun)


def turn(page, seconds):
    """Turn the page's clock forward and wait for what it tells the server."""
    with page.expect_response("**/session/open") as told:
        page.clock.fast_forward(1000 * seconds)
    return told.value.status


def test_a_lid_a_link_another_port_and_a_reload_lose_nothing(context, servers):
    one, two = servers
    page = context.new_page()
    page.clock.install()
    session = begin(page, one)

    # A lid, closed for an hour.
    session.last_seen = session.last_used = time.monotonic() - HOUR
    one.store.sweep()
    assert not session.ended
    assert turn(page, HOUR) == 204

    # A second inspector on another port: a browser sends it the first one's cookies too.
    begin(context.new_page(), two)
    assert len({cookie["name"] for cookie in context.cookies()}) == 2
    assert turn(page, MINUTE) == 204

    # A page of another site embeds this one, fetches from it, and links to it.
    before = len(one.store)
    embedding = f'<img src="{one.address}/?i=1"><iframe src="{one.address}/study"></iframe>'
    link = f'{embedding}<a href="{one.address}/study">the study</a>'
    context.route(f"{WIKI}**", lambda route: route.fulfill(body=link, content_type="text/html"))
    wiki = context.new_page()
    wiki.goto(WIKI)
    wiki.get_by_text("the study").click()
    wiki.wait_for_selector("#panes[data-ready]")  # the same session: the reader need not begin again
    assert len(one.store) == before
    page.reload()
    page.wait_for_selector("#panes[data-ready]")
    assert turn(page, MINUTE) == 204


def test_a_page_waits_while_the_network_is_away_and_says_when_its_session_has_ended(context, servers):
    server = servers[0]
    for session in server.store:
        server.store.end(session)
    page = context.new_page()
    page.clock.install()
    session = begin(page, server)
    page.get_by_role("radio", name="Image B").check()
    page.get_by_label("4", exact=True).check()
    context.set_offline(True)
    page.get_by_role("button", name="Save and go on").click()
    notice = page.locator("#connection")
    notice.get_by_text("No connection to the server").wait_for()
    session.last_seen = session.last_used = time.monotonic() - 10 * MINUTE
    server.store.sweep()
    for _ in range(5):
        page.clock.fast_forward(1000 * 2 * MINUTE)
    assert notice.is_visible()
    assert server.study.answers() == []
    context.set_offline(False)
    page.clock.fast_forward(1000 * MINUTE)
    page.wait_for_selector("#panes[data-ready='1']")  # what was pressed ten minutes ago has gone on by itself
    notice.wait_for(state="detached")
    assert [answer["confidence"] for answer in server.study.answers()] == [4]

    server.store.end(session)
    assert turn(page, MINUTE) == 403
    notice.get_by_text("This session has ended").wait_for()
    notice.get_by_role("link", name="Begin a new one").click()
    page.locator("#pin").fill(server.study.pin("r1"))
    page.get_by_role("button", name="Begin or go on").click()
    page.wait_for_selector("#panes[data-ready='1']")
