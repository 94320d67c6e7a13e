"""The whole app as a person uses it: a real server, a real browser, no way to the network."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio", reason="The app's packages are not installed: pip install '.[app]'.")

from tests.apps.tiny_run import make_tiny_run

ROOT = Path(__file__).parents[3]
PATIENCE = 40_000
"""Milliseconds: for machines that do much else at the same time; nothing is measured here."""


def start(*arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "apps.inspector", *map(str, arguments), "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process, port


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run = make_tiny_run(folder / "tiny")
    shutil.copytree(run, folder / "other")
    process, port = start(run, "--compare", folder / "other")
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    break
        except OSError:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.2)
    yield process, f"http://127.0.0.1:{port}/"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    with process.stdout:
        said = process.stdout.read()
    assert "Traceback" not in said
    assert "artefact" not in said


@pytest.fixture(scope="module")
def page(chromium, server):
    """One visit for all tests of this file; whatever the page complains about fails them at the end."""
    complaints = []
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: complaints.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url} {request.failure}"))
    page.on("request", lambda request: complaints.append(f"asked: {request.url}"))
    page.goto(server[1])
    page.wait_for_selector("#grid .tile")
    yield page
    context.close()
    own = (server[1], "data:", "blob:")
    real = [
        complaint
        for complaint in complaints
        # Gradio ends its stream of events by leaving it.
        if not ("queue/data" in complaint and "ERR_ABORTED" in complaint)
        # The browser notes the upload that the test itself makes the server refuse.
        and "status of 415" not in complaint
        and not complaint.startswith(tuple(f"asked: {start}" for start in own))
    ]
    assert real == []


def find_violations(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed.")
    report = axe.Axe().run(page)
    return [
        f"{found['id']}: {node['html'][:160]}" for found in report.response["violations"] for node in found["nodes"]
    ]


def open_tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def sheet_bytes(page, where):
    style = page.locator(f"{where} .tile").first.get_attribute("style")
    address = style.split("url(")[1].split(")")[0]
    return page.request.get(page.url.rstrip("/") + address).body()


def test_samples_are_told_by_their_numbers_and_drawn_again_from_them(page):
    assert page.locator("#grid .tile").count() == 64
    assert page.get_by_role("note").filter(has_text="Not for diagnosis").is_visible()
    first = sheet_bytes(page, "#grid")
    page.get_by_role("button", name="Next seed").click()
    page.get_by_text("Seed 1, samples 0 to 63").wait_for()
    assert sheet_bytes(page, "#grid") != first
    page.get_by_label("Seed").fill("0")
    page.get_by_role("button", name="Draw").click()
    page.get_by_text("Seed 0, samples 0 to 63").wait_for()
    assert sheet_bytes(page, "#grid") == first
    for shown in ("Phase", "With nearest measurement"):
        before = page.locator("#grid .tile").first.get_attribute("style")
        page.get_by_label(shown, exact=True).check()
        page.wait_for_function(
            "before => document.querySelector('#grid .tile').getAttribute('style') !== before", arg=before
        )
        assert sheet_bytes(page, "#grid") != first
    assert page.locator("#grid .caption").count() == 64
    page.get_by_label("Magnitude", exact=True).check()
    page.wait_for_function("document.querySelectorAll('#grid .caption').length === 0")
    assert sheet_bytes(page, "#grid") == first


def test_a_sample_is_chosen_by_keyboard_and_looked_at_closely(page):
    page.locator("#grid .tile").nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.number") == "9"
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Sample 9").wait_for()
    frame = page.frame_locator("#closely-view iframe")
    frame.locator(".title", has_text="Nearest training measurement").wait_for()
    assert "training measurements kept with the run" in page.locator("#closely-view").inner_text()
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Teacher beside student").wait_for()
    assert page.locator("#comparison .tile").count() == 16
    page.get_by_role("button", name="Walk").click()
    page.get_by_role("heading", name="From sample 9 to sample 1").wait_for()
    assert page.locator("#comparison .tile").count() == 9


def test_a_worker_that_dies_is_replaced(page, server):
    for pid in worker_pids(server[0].pid):
        os.kill(pid, signal.SIGKILL)
    page.get_by_label("Seed").fill("3")
    page.get_by_role("button", name="Draw").click()
    page.locator("#samples-status").get_by_text("Seed 3").or_(page.locator("#samples-status .problem")).wait_for()
    if page.locator("#samples-status .problem").count():
        assert "started again" in page.locator("#samples-status").inner_text()
        page.get_by_role("button", name="Draw").click()
        page.locator("#samples-status").get_by_text("Seed 3").wait_for()


def worker_pids(parent):
    """The process that computes: a child of the server with the run's model in it."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    threads = [Path(f"/proc/{parent}/task/{task}/children") for task in os.listdir(f"/proc/{parent}/task")]
    found = set(children) | {child for path in threads if path.exists() for child in path.read_text().split()}
    return [int(pid) for pid in found if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_a_scan_is_sent_read_reconstructed_and_kept(page, tmp_path):
    open_tab(page, "Reconstruct")
    junk = tmp_path / "<img src=x onerror=alert(1)>.h5"
    junk.write_bytes(b"<script>alert(1)</script>" * 40)
    page.set_input_files("#scan-file", junk)
    page.locator("#upload").get_by_text("Only scans are taken").wait_for()
    rng = np.random.default_rng(0)
    image = np.zeros((3, 16, 16), np.float32)
    image[:, 3:13, 4:12] = 1 + rng.random((3, 10, 8))
    scan = tmp_path / "DOE^JOHN.npy"
    np.save(scan, image)
    page.set_input_files("#scan-file", scan)
    facts = page.locator("#scan-facts dl")
    facts.wait_for()
    said = facts.inner_text()
    assert "1 of 3" in said
    assert "unknown: no left and right are shown" in said
    assert "DOE" not in page.content()
    page.get_by_label("CG-SENSE").check()
    page.locator("#go").click()
    page.locator("#result .verdict").wait_for()
    frame = page.frame_locator("#result iframe")
    for title in ("CG-SENSE", "Zero-filled", "Fully sampled reference"):
        frame.locator(".title", has_text=title).wait_for()
    assert page.locator("#result .exports a").count() >= 3
    with page.expect_download() as download:
        page.get_by_role("link", name="figures.csv").click()
    text = Path(download.value.path()).read_text()
    assert "Not for diagnosis" in text
    assert "DOE" not in text


def test_runs_are_compared_and_followed_over_time(page):
    open_tab(page, "Training runs")
    page.get_by_role("checkbox", name="other").check()
    page.locator("#runs-summary table").wait_for()
    page.locator("#runs-samples img").nth(1).wait_for()
    assert page.locator("#runs-summary tbody tr").count() == 4
    assert page.locator("#runs-curves svg").count() >= 4
    assert "32 images" in page.locator("#runs-samples").inner_text()
    page.locator("#runs-moment input[type=range]").fill("0")
    page.locator("#runs-samples").get_by_text("16 images").first.wait_for()


@pytest.mark.parametrize("name", ["Samples", "Reconstruct", "Training runs", "Viewer"])
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


def test_two_users_work_side_by_side_and_an_ended_session_is_gone(page, chromium, server):
    mine = page.locator("#grid .tile").first.get_attribute("style").split("url(")[1].split(")")[0]
    context = chromium.new_context()
    other = context.new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(server[1])
    other.wait_for_selector("#grid .tile")
    assert other.request.get(server[1].rstrip("/") + mine).status == 404
    theirs = other.locator("#grid .tile").first.get_attribute("style").split("url(")[1].split(")")[0]
    assert other.request.get(server[1].rstrip("/") + theirs).status == 200
    other.get_by_role("button", name="End session").click()
    other.get_by_role("heading", name="Session ended").wait_for()
    assert other.request.get(server[1].rstrip("/") + theirs).status == 403
    context.close()
    assert page.request.get(server[1].rstrip("/") + mine).status == 200
