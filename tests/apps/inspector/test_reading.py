"""The page for reading as a person uses it: a real server, a real browser, no way to the network."""

import contextlib
import csv
import os
import shutil
import signal
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

pytest.importorskip("uvicorn", reason="The app's packages are not installed: pip install '.[app]'.")

from tests.apps.running import find_violations, watched_page, worker_pids

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed.")
AREA = """() => [...document.querySelectorAll('.stage')].filter((stage) => stage.offsetParent)
  .reduce((sum, { clientWidth, clientHeight }) => sum + clientWidth * clientHeight, 0) / (innerWidth * innerHeight)"""


@pytest.fixture(scope="module")
def page(chromium, server):
    """One visit for all tests of this file; whatever the page complains about fails them at the end."""
    # The browser notes the upload that a test makes the server refuse, and the network that another takes away.
    expected = ("status of 415", "ERR_INTERNET_DISCONNECTED")
    with watched_page(chromium, server[1], *expected, viewport={"width": 1280, "height": 800}) as page:
        yield page


def rest(page):
    """Wait until nothing is being done."""
    page.wait_for_function("() => document.querySelector('#stop').hidden")


def block(path, shape=(5, 16, 16), offset=0.0):
    values = np.zeros(shape, np.float32)
    values[..., 3:13, 4:12] = 100 + 50 * np.random.default_rng(0).random((*shape[:-2], 10, 8))
    np.save(path, values + offset)
    return path


def test_the_first_page_shows_a_held_out_case_reconstructed_with_its_story(page):
    page.locator("#results details").nth(1).wait_for()
    rest(page)
    assert page.locator("#identity").inner_text() == "Held-out example 1 · R 2"
    assert "held out of the training" in page.locator("#story").inner_text()
    titles = page.locator("#panes .title").all_inner_texts()
    assert titles[:4] == [
        f"Held-out example 1 · {what}"
        for what in ("as measured", "R 2 · Zero-filled", "R 2 · L1 wavelet", "R 2 · Student, plug and play")
    ]
    assert "scan=" in page.url
    assert page.get_by_role("note").filter(has_text="Not for diagnosis").is_visible()


def test_the_last_file_chosen_wins_and_nothing_of_the_first_is_left(page, tmp_path):
    held = []
    page.route("**/reading/open", lambda route: held.append(route) if not held else route.continue_())
    page.set_input_files("#scan-file", block(tmp_path / "first.npy"))
    # At once: no picture, no verdict, no fact of the scan before.
    assert not page.locator("#viewer").is_visible()
    assert page.locator("#results details").count() == page.locator("#facts dd").count() == 0
    page.wait_for_function("() => document.querySelector('#status').textContent.startsWith('Reading')")
    page.set_input_files("#scan-file", block(tmp_path / "second.npy", (3, 16, 16)))
    page.locator("#identity", has_text="second.npy").wait_for()
    page.locator(".pane[data-shown]").first.wait_for()
    rest(page)
    held[0].continue_()  # the first answer comes when the second scan is shown
    page.wait_for_timeout(500)
    page.unroute("**/reading/open")
    assert page.locator("#identity").inner_text() == "Scan 1 (second.npy) · slice 2 of 3 · as measured"
    assert "3 slices" in page.locator("#facts").inner_text()
    page.go_back()
    page.locator("#identity", has_text="Held-out example 1").wait_for()
    page.go_forward()
    page.locator("#identity", has_text="second.npy").wait_for()
    rest(page)


def test_the_picture_fills_the_window_and_values_are_the_files(page, tmp_path):
    page.set_input_files("#scan-file", block(tmp_path / "DOE^JOHN.npy", offset=-200.0))
    page.locator("#identity", has_text="slice 3 of 5 · as measured").wait_for()
    page.locator(".pane[data-shown]").first.wait_for()
    rest(page)
    assert page.evaluate(AREA) >= 0.7
    assert page.locator("input[name=speed]:checked").get_attribute("value") == "As measured"
    assert float(page.locator("#low").input_value()) == -200
    assert "Orientation" in page.locator("#facts").inner_text()
    page.locator(".stage").first.focus()
    page.keyboard.press("PageDown")
    page.locator("#identity", has_text="slice 5 of 5").wait_for()
    page.keyboard.press("ArrowUp")
    page.locator("#which", has_text="slice 4").wait_for()


def test_methods_stand_side_by_side_each_with_what_can_be_trusted_of_it(page):
    page.get_by_label("R 4", exact=True).check()
    rest(page)
    page.locator("#identity", has_text="slice 4 of 5 · R 4").wait_for()
    for method in ("CG-SENSE", "L1 wavelet", "Student, plug and play"):
        page.locator("#methods").get_by_label(method, exact=True).check()
    page.locator("#go").click()
    page.locator("#results details").nth(2).wait_for()
    rest(page)
    assert page.locator("#results table tbody tr").count() == 4
    boxes = page.locator("#results details").all()
    assert [box.locator("strong").first.text_content() for box in boxes] == [
        "CG-SENSE", "L1 wavelet", "Student, plug and play",
    ]  # fmt: skip
    learned = boxes[2].text_content()
    assert all(words in learned for words in ("Measured lines", "Hidden lines", "Trained on", "This scan: 16 × 16"))
    page.locator(".stage").nth(2).focus()  # the active picture's box is the open one
    page.wait_for_function("() => document.querySelector('#results details').open")
    page.keyboard.press("y")
    assert page.locator("[data-act=flicker]").get_attribute("aria-pressed") == "true"
    page.locator(".title", has_text="as sent").nth(1).wait_for()  # the other picture, in this one's place
    page.keyboard.press("y")
    page.locator("#beside").select_option(index=0)
    # Another slice: nothing of this one's verdict stays beside it.
    page.keyboard.press("ArrowUp")
    page.locator("#identity", has_text="slice 3 of 5").wait_for()
    page.wait_for_function("() => !document.querySelector('#results details')")
    assert page.locator(".mark.state", has_text="Nothing was made of this slice yet").first.is_visible()
    page.keyboard.press("ArrowDown")
    page.locator("#results details").nth(2).wait_for()
    with page.expect_download() as download:
        page.locator("#results details").nth(1).evaluate("(box) => { box.open = true; }")
        page.locator("#results details").nth(1).get_by_role("link", name="CSV").click()
    name = download.value.suggested_filename
    assert name.endswith("-slice-4-r-4-l1_wavelet.csv")
    rows = list(csv.reader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
    assert rows[2][1].endswith("slice 4 of 5, R 4, L1 wavelet")
    assert "DOE" not in str(rows)


def test_whole_volumes_a_reload_and_a_server_that_is_away(page, server, tmp_path):
    page.locator("#methods").get_by_label("Student, plug and play", exact=True).uncheck()
    page.locator("#go-all").click()
    page.keyboard.press("Home")
    rest(page)
    for number in (1, 5):
        page.locator(".stage").first.focus()
        page.keyboard.press("Home" if number == 1 else "End")
        page.locator("#identity", has_text=f"slice {number} of 5").wait_for()
        page.locator("#results details").nth(1).wait_for()
    box = page.locator("#results details").nth(1)
    box.evaluate("(box) => { box.open = true; }")
    with page.expect_download() as download:
        box.get_by_role("link", name="Whole volume, NIfTI").click()
    volume = nibabel.load(shutil.copy(download.value.path(), tmp_path / download.value.suggested_filename))
    assert volume.shape == (16, 16, 5)
    assert np.isfinite(volume.get_fdata()).all()
    address = page.url
    page.reload()
    page.locator("#results details").first.or_(page.locator(".pane").nth(3)).first.wait_for()
    assert page.url == address
    assert "DOE^JOHN.npy" in page.locator("#identity").inner_text()
    page.context.set_offline(True)
    page.locator(".stage").first.focus()
    page.keyboard.press("End")
    page.locator("#connection", has_text="No connection to the server").wait_for()
    page.context.set_offline(False)
    page.locator("#results details").nth(1).wait_for()
    # A request falls with the network, which is back before the page has looked: it is sent again.
    page.route("**/reading/slice/**", lambda route: route.abort("internetdisconnected"), times=1)
    page.locator(".stage").first.focus()
    page.keyboard.press("Home")
    page.locator("#identity", has_text="slice 1 of 5").wait_for()
    page.locator("#results details").nth(1).wait_for()


def test_a_job_is_stopped_and_a_worker_that_dies_at_work_is_replaced(page, server):
    page.locator("#methods").get_by_label("Teacher, A-DPS", exact=True).check()
    page.get_by_label("R 2", exact=True).check()
    rest(page)
    for end in ("stop", "kill"):
        workers = worker_pids(server[0].pid)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)  # at work, on however fast a machine, until it is ended
        page.locator("#go").click()
        page.locator("#stop").wait_for()
        if end == "stop":
            page.locator("#stop").click()
            page.locator("#status", has_text="Stopped.").wait_for()
            page.wait_for_timeout(4000)  # the worker is replaced after its grace
        else:
            page.locator("#status", has_text=", slice ").wait_for()
            page.wait_for_timeout(500)  # with the worker by now: what dies between requests is replaced without a word
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            page.locator("#status[role=alert]").wait_for()
        rest(page)


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080), (820, 1180), (1180, 820)])
def test_it_fits_and_axe_finds_no_barrier(page, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.wait_for_timeout(300)
    assert find_violations(page) == []
    # A finger on a picture does not scroll: the page stays, and everything is in view or in the rail, which scrolls.
    fits = "({scrollWidth, scrollHeight}) => scrollWidth <= innerWidth && scrollHeight <= innerHeight"
    assert page.locator("html").evaluate(fits)
    page.locator("#rail").evaluate("(rail) => { rail.scrollTop = 0; }")
    for what in ("#identity", ".file", "#scans", ".stage"):
        box = page.locator(what).first.bounding_box()
        assert box["y"] >= 0, what
        assert box["y"] + box["height"] <= size[1], what
    assert page.evaluate(AREA) >= (0.7 if size[0] >= 1280 else 0.45)
    assert page.locator("#rail").evaluate("(rail) => rail.clientHeight") >= 300
    page.set_viewport_size({"width": 1280, "height": 800})


def test_hidden_files_beside_a_series_and_old_dicom_do_no_harm(page, tmp_path):
    from rsd_med.data.scan import Geometry
    from rsd_med.data.writing.dicom import write_dicom

    files = write_dicom(tmp_path / "old", np.random.default_rng(0).random((3, 24, 16)), Geometry(), (0.0, 1.0))
    for path in files:  # as old exports are: without preamble and meta information
        dataset = pydicom.dcmread(path)
        pydicom.dcmwrite(path, pydicom.Dataset(dataset), implicit_vr=False, little_endian=True, force_encoding=True)
        assert path.read_bytes()[128:132] != b"DICM"
    (tmp_path / "old" / "._0.dcm").write_bytes(b"what a Mac keeps beside a file")
    page.set_input_files("#scan-file", sorted((tmp_path / "old").iterdir()))
    page.locator(
        "#identity", has_text=f"({files[0].name} and 2 more, hidden files left out: 1) · slice 2 of 3"
    ).wait_for()
    page.locator(".pane[data-shown]").first.wait_for()
    rest(page)


def test_junk_is_refused_in_a_sentence_in_view(page, tmp_path):
    junk = tmp_path / "<img src=x onerror=alert(1)>.h5"
    junk.write_bytes(b"<script>alert(1)</script>" * 40)
    page.set_input_files("#scan-file", junk)
    line = page.locator("#status", has_text="Only scans are taken")
    line.wait_for()
    assert line.bounding_box()["y"] < 400
    assert page.locator("#viewer").is_hidden()
    assert page.locator("img[onerror]").count() == 0
