"""Logging in and out as a person does it, with a real server and a real browser."""

import pytest

pytest.importorskip("uvicorn", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.web.users import add_user
from tests.apps.running import find_violations, running, watched_page
from tests.apps.tiny_run import make_tiny_run

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logins")
    add_user(folder / "users", "reader", PASSWORD)
    with running(make_tiny_run(folder / "tiny"), "--users", folder / "users") as (_, found):
        yield found


def test_a_reader_logs_in_by_keyboard_works_and_logs_out(chromium, address):
    # The browser notes the refusals that the test asks for, and an icon that was on its way when the page was left.
    with watched_page(chromium, address, "status of 401", "favicon.svg net::ERR_ABORTED") as page:
        assert page.url == f"{address}login"
        page.goto(f"{address}lab")
        assert page.url == f"{address}login?to=lab"
        assert page.get_by_role("note").inner_text() == "Research use only. Not for diagnosis."
        assert find_violations(page) == []
        for password in ("wrong", PASSWORD):
            assert page.evaluate("document.activeElement.name") == "name"
            page.keyboard.type("reader")
            page.keyboard.press("Tab")
            page.keyboard.type(password)
            page.keyboard.press("Enter")
            if password == "wrong":
                page.get_by_role("alert").get_by_text("do not belong together").wait_for()
                assert find_violations(page) == []
        page.wait_for_url(f"{address}lab")
        page.wait_for_selector("#grid .tile")
        mine = page.locator("#grid .tile").first.get_attribute("style").split("url(")[1].split(")")[0].lstrip("/")
        assert page.request.get(address + mine).status == 200
        (kept,) = page.context.cookies()
        assert (kept["httpOnly"], kept["sameSite"]) == (True, "Lax")
        page.get_by_role("button", name="Log out").focus()
        page.keyboard.press("Enter")
        page.get_by_role("dialog").get_by_role("button", name="Log out").click()
        page.get_by_role("heading", name="Session ended").wait_for()
        assert page.request.get(address + mine).status == 401
        page.get_by_role("link", name="Begin a new session").click()
        page.wait_for_url(f"{address}login")


def test_without_a_login_nothing_is_shown(chromium, address):
    with watched_page(chromium, address, "status of 401") as page:
        for path in ("config", "viewer?panes=x", "gradio_api/queue/data?session_hash=x", "upload"):
            assert page.request.get(address + path, max_redirects=0).status == 401
        assert page.request.get(address, max_redirects=0).status == 303
        asked = page.request.get(f"{address}study", max_redirects=0)
        assert asked.headers["location"] == "/login?to=study"
        assert 'name="to" value="study"' in page.request.get(f"{address}login?to=study").text()
        assert 'name="to" value=""' in page.request.get(f"{address}login?to=//example.org").text()
        assert page.request.get(f"{address}niivue").status == 200  # holds nothing of anybody
