"""The whole app as a person uses it: a real server, a real browser, no way to the network."""

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="The app's packages are not installed: pip install '.[app]'.")

from tests.apps.running import PATIENCE, find_violations, watched_page, worker_pids

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed.")


@pytest.fixture(scope="module")
def page(chromium, server):
    """One visit for all tests of this file; whatever the page complains about fails them at the end."""
    with watched_page(chromium, server[1] + "lab", viewport={"width": 1280, "height": 800}) as page:
        page.wait_for_selector("#grid .tile")
        yield page


def open_tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def insist(page, button, sign):
    """Press until it shows: a press is passed over while what was asked before has been told but not quite ended."""
    for _ in range(PATIENCE // 3000):
        page.locator(button).click()
        with contextlib.suppress(sync_api.TimeoutError):
            sign.wait_for(timeout=3000)
            return
    pytest.fail(f"{button} was pressed, and nothing came of it")


def sheet_bytes(page, where):
    style = page.locator(f"{where} .tile").first.get_attribute("style")
    address = style.split("url(")[1].split(")")[0]
    return page.request.get(page.url.removesuffix("/lab") + address).body()


def test_samples_are_told_by_their_numbers_and_drawn_again_from_them(page):
    assert page.locator("#grid .tile").count() == 16
    assert page.get_by_role("note").filter(has_text="Not for diagnosis").is_visible()
    first = sheet_bytes(page, "#grid")
    page.get_by_role("button", name="Next seed").click()
    page.get_by_text("Seed 1, samples 0 to 15").wait_for()
    assert sheet_bytes(page, "#grid") != first
    page.get_by_label("Seed").fill("0")
    page.get_by_role("button", name="Draw").click()
    page.get_by_text("Seed 0, samples 0 to 15").wait_for()
    assert sheet_bytes(page, "#grid") == first
    for shown in ("Phase", "With nearest measurement kept", "With nearest of all training data"):
        before = page.locator("#grid .tile").first.get_attribute("style")
        page.get_by_label(shown, exact=True).check()
        page.wait_for_function(
            "before => document.querySelector('#grid .tile').getAttribute('style') !== before", arg=before
        )
        assert sheet_bytes(page, "#grid") != first
    assert page.locator("#grid .caption").count() == 16
    assert "all 12 training measurements" in page.locator("#grid").inner_text()
    page.get_by_label("Magnitude", exact=True).check()
    page.wait_for_function("document.querySelectorAll('#grid .caption').length === 0")
    assert sheet_bytes(page, "#grid") == first
    truncation = page.get_by_role("slider", name="Truncation")
    truncation.focus()
    for key, told in (("ArrowLeft", "ψ = 0.95"), ("ArrowRight", "ψ = 1;")):
        page.keyboard.press(key)
        page.locator("#samples-status").get_by_text(told).wait_for()
        assert (sheet_bytes(page, "#grid") == first) == (key == "ArrowRight")


def test_a_sample_is_chosen_by_keyboard_and_looked_at_closely(page):
    assert page.locator("#grid .tile[tabindex='0']").count() == 1  # one stop of the tab key for all
    page.locator("#grid .tile").nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.number") == "5"
    assert page.locator("#grid .tile[tabindex='0']").get_attribute("data-number") == "5"
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Sample 5").wait_for()
    frame = page.frame_locator("#closely-view iframe")
    frame.locator(".title", has_text="Nearest training measurement").wait_for()
    page.locator("#search").focus()
    page.keyboard.press("Enter")
    page.locator("#closely-view").get_by_text("The nearest of all 12 training measurements").wait_for()
    frame.locator(".title", has_text="Nearest training measurement").wait_for()
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Teacher beside student").wait_for()
    assert page.locator("#comparison .tile").count() == 16
    page.get_by_role("button", name="Walk").click()
    page.get_by_role("heading", name="From sample 5 to sample 1").wait_for()
    assert page.locator("#comparison .tile").count() == 9


def test_a_worker_that_died_between_requests_is_replaced(page, server):
    for pid in worker_pids(server[0].pid):
        os.kill(pid, signal.SIGKILL)
    page.get_by_label("Seed").fill("3")
    page.get_by_role("button", name="Draw").click()
    page.locator("#samples-status").get_by_text("Seed 3").or_(page.locator("#samples-status .problem")).wait_for()
    if page.locator("#samples-status .problem").count():
        assert "started again" in page.locator("#samples-status").inner_text()
        page.get_by_role("button", name="Draw").click()
        page.locator("#samples-status").get_by_text("Seed 3").wait_for()


def test_runs_are_compared_and_followed_over_time(page):
    open_tab(page, "Training runs")
    page.locator("#runs-curves svg").first.wait_for()  # a finished run is there at once
    assert page.locator("#runs-summary tbody tr").count() == 2
    assert page.url.endswith("#training-runs")
    page.get_by_role("checkbox", name="other").check()
    page.locator("#runs-summary table").wait_for()
    page.locator("#runs-samples img").nth(1).wait_for()
    page.wait_for_function("document.querySelector('#runs-samples img').naturalWidth > 0")
    loss = page.locator("#runs-curves figure").filter(has_text="Teacher: loss")
    assert loss.locator(".legend li").all_inner_texts() == ["tiny 2.00", "other 2.00"]
    assert loss.locator("polyline").count() == 2
    assert "can be compared: features" in page.locator("#runs-summary").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all curves").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert '"other","teacher",16.0,"loss",4.0' in rows
    page.locator("#runs-from input[type=range]").fill("75")
    page.wait_for_function("document.querySelectorAll('#runs-curves polyline').length === 0")  # one point is left
    page.locator("#runs-from input[type=range]").fill("0")
    assert page.locator("#runs-summary tbody tr").count() == 4
    assert page.locator("#runs-curves svg").count() == 3
    assert "32 images" in page.locator("#runs-samples").inner_text()
    page.locator("#runs-moment input[type=range]").fill("0")
    page.locator("#runs-samples").get_by_text("16 images").first.wait_for()


def test_a_run_in_training_is_followed_once_somebody_looks(page, server):
    other = server[2] / "other"
    status, metrics = (json.loads((other / name).read_text()) for name in ("status.json", "metrics.json"))
    open_tab(page, "Training runs")
    page.get_by_role("checkbox", name="other").check()
    (other / "status.json").write_text(json.dumps(status | {"state": "running"}))
    page.get_by_role("button", name="Look again").click()
    page.locator("#runs-summary").get_by_text("running").first.wait_for()
    metrics["student"]["fd"] = 0.8125
    (other / "metrics.json").write_text(json.dumps(metrics))
    page.locator("#runs-summary").get_by_text("0.812").first.wait_for()  # by itself
    (other / "status.json").write_text(json.dumps(status))


@pytest.mark.parametrize("name", ["Samples", "Training runs"])
@pytest.mark.parametrize("width", [1280, 820])
def test_every_tab_is_accessible_and_fits(page, name, width):
    page.set_viewport_size({"width": width, "height": 900})
    open_tab(page, name)
    page.wait_for_timeout(300)
    assert find_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_theme_turns_light_and_stays_legible(page):
    page.set_viewport_size({"width": 1280, "height": 800})
    open_tab(page, "Samples")
    page.get_by_role("button", name="Light / dark").click()
    assert page.evaluate("document.body.classList.contains('dark')") is False
    page.wait_for_timeout(500)  # colours fade over
    assert find_violations(page) == []
    page.get_by_role("button", name="Light / dark").click()


def tab_leaves_another_alone(first, second, server):
    """Draw on two tabs of one session, and cancel on the second while both wait."""
    second.goto(server[1] + "lab?seed=8")
    second.get_by_text("Seed 8, samples 0 to 15").wait_for()
    workers = worker_pids(server[0].pid)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)  # neither is done before the other asks
    first.get_by_role("button", name="Next seed").click()
    first.locator("#samples-status .busy").wait_for()
    second.get_by_role("button", name="Next seed").click()
    second.locator("#samples-status", has_text="waiting for 1 other request").wait_for()
    second.get_by_role("button", name="Cancel what is computed here").click()
    second.locator("#closely-status", has_text="Cancelled.").wait_for()
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    first.get_by_text("Seed 6, samples 0 to 15").wait_for()
    second.close()


def test_two_users_work_side_by_side_and_an_ended_session_is_gone(page, chromium, server):
    mine = page.locator("#grid .tile").first.get_attribute("style").split("url(")[1].split(")")[0]
    context = chromium.new_context()
    other = context.new_page()
    other.set_default_timeout(PATIENCE)
    other.clock.install()
    other.goto(server[1] + "lab?seed=5&count=16&truncation=nonsense")  # a grid's address
    other.get_by_text("Seed 5, samples 0 to 15, ψ = 1;").wait_for()
    assert other.get_by_label("Seed").input_value() == "5"
    assert other.locator("#grid .tile").count() == 16
    address = other.get_by_role("link", name="Address of this grid").get_attribute("href")
    assert address == "?seed=5&count=16&truncation=1"
    tab_leaves_another_alone(other, context.new_page(), server)
    with other.expect_response("**/session/open") as still_open:
        other.clock.fast_forward(60_000)
    assert still_open.value.status == 204
    assert other.request.get(server[1].rstrip("/") + mine).status == 404
    theirs = other.locator("#grid .tile").first.get_attribute("style").split("url(")[1].split(")")[0]
    assert other.request.get(server[1].rstrip("/") + theirs).status == 200
    other.get_by_role("button", name="End session").click()
    other.get_by_role("dialog").get_by_role("button", name="Stay").click()
    assert other.request.get(server[1].rstrip("/") + theirs).status == 200
    other.get_by_role("button", name="End session").click()
    assert find_violations(other) == []
    other.get_by_role("dialog").get_by_role("button", name="End session").click()
    other.get_by_role("heading", name="Session ended").wait_for()
    assert other.request.get(server[1].rstrip("/") + theirs).status == 403
    context.close()
    assert page.request.get(server[1].rstrip("/") + mine).status == 200
