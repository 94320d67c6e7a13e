"""The volume in 3-D: NiiVue is the file that was reviewed, shut in, fed with our grey levels, the right way round."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.viewer.page import AXES
from apps.inspector.viewer.volume_view import FOLDER, POLICY, vendored, volume_place
from apps.inspector.web.artefacts import Pane
from apps.inspector.web.stored import add_volume
from rsd_med.data.display import turn, volume_planes
from rsd_med.data.windowing import grey_levels
from tests.apps.conftest import quiet_pages
from tests.apps.viewer.phantom import asymmetric
from tests.data.test_display import affine_of

SHAPE = (9, 15, 11)
SPACING = (3.0, 0.7, 1.1)
SMALL = (800, 600)
"""Of the window: graphics are drawn in software here."""


def test_niivue_is_the_file_that_was_taken_over_with_its_licence():
    known, content = vendored(), (FOLDER / "niivue.umd.js").read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (known["bytes"], known["sha256"])
    assert len(content) < 4 << 20
    assert b"sourceMappingURL" not in content
    licence = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "BSD 2-Clause License" in licence
    assert f"NiiVue {known['version']}" in licence


def test_the_frame_is_public_and_can_go_nowhere(served):
    import httpx

    for source in ("script-src", "style-src"):
        assert f"{source} 'self';" in POLICY
    assert "default-src 'none'" in POLICY
    assert "connect-src" not in POLICY  # so that default-src, none, holds
    assert "sandbox allow-scripts" in POLICY
    assert "allow-same-origin" not in POLICY
    with httpx.Client(base_url=served.address, trust_env=False) as stranger:
        for path in ("/niivue", "/niivue/page.js", "/niivue/page.css", "/niivue/niivue.umd.js"):
            answer = stranger.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-security-policy"] == POLICY
            assert "set-cookie" not in answer.headers
        for path in ("/niivue/LICENSE", "/niivue/vendored.json", "/niivue/..%2fpage.py", "/niivue/x"):
            assert stranger.get(path).status_code in (400, 403, 404)


def test_letters_need_a_grid_that_follows_the_patient():
    def place(affine, spacing=SPACING):
        rows = None if affine is None else tuple(map(tuple, np.asarray(affine).tolist()))
        return volume_place(Pane("x", "", "", (0, 1), rows, spacing))

    assert place(affine_of("RAS"))["letters"]
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    assert not place(turned)["letters"]
    assert place(turned)["affine"] == turned.ravel().tolist()
    unknown = place(None)
    assert not unknown["letters"]
    assert np.diag(np.reshape(unknown["affine"], (4, 4))).tolist() == [-1.1, -0.7, -3.0, 1.0]
    assert np.diag(np.reshape(place(None, None)["affine"], (4, 4))).tolist() == [-1, -1, -1, 1]


def show(served, codes, *others, affine=None):
    volume = asymmetric(SHAPE)
    pane = add_volume(
        served.session, volume, title=codes, unit="a.u.", window=(0.1, 0.8), affine=affine, spacing=SPACING
    )
    return volume, served.show(pane, *others)


def await_drawing(page, number=1):
    page.wait_for_function("n => Number(document.querySelector('#volume').dataset.drawings) >= n", arg=number)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def seen(page, rows, columns, dy, dx):
    """Grey levels at the middles of the pixels of the one plane that fills the frame."""
    screen = np.asarray(Image.open(io.BytesIO(page.locator(".solid iframe").screenshot())).convert("RGB")).astype(int)
    height, width = screen.shape[:2]
    fit = min(height / (rows * dy), width / (columns * dx))
    y = height / 2 + (np.arange(rows) + 0.5 - rows / 2) * dy * fit
    x = width / 2 + (np.arange(columns) + 0.5 - columns / 2) * dx * fit
    return screen[y.astype(int)[:, None], x.astype(int)]


def away_from_cross(rows, columns):
    """Letters stand at the edges, and the cross in the middle."""
    keep = np.ones((rows, columns), bool)
    keep[[0, rows // 2, rows - 1]] = False
    keep[:, [0, columns // 2, columns - 1]] = False
    return keep


@pytest.mark.parametrize("codes", ["LPS", "PSR", "unknown"])
def test_the_planes_are_ours_the_right_way_round(opened, served, codes):
    affine = None if codes == "unknown" else affine_of(codes)
    volume, address = show(served, codes, affine=affine)
    page = opened(served, address, *SMALL)
    page.wait_for_selector(".pane[data-shown]")
    page.keyboard.press("v")
    await_drawing(page)
    assert ("Orientation unknown" in page.locator("#solid-place").inner_text()) == (affine is None)
    named = {plane.name or AXES[plane.axis]: plane for plane in volume_planes(affine)}
    wanted = zip(("Axial", "Coronal", "Sagittal"), ("Slices", "Rows", "Columns"), strict=True)
    for number, (name, stored) in enumerate(wanted):
        plane = named.get(name) or named[stored]
        page.keyboard.press(str(2 + number))
        await_drawing(page, 2 + number)
        expected = turn(grey_levels(volume.take(SHAPE[plane.axis] // 2, axis=plane.axis), (0.1, 0.8)), plane)
        steps = [step for axis, step in enumerate(SPACING) if axis != plane.axis]
        dy, dx = steps[::-1] if plane.transpose else steps
        keep = away_from_cross(*expected.shape)
        found = seen(page, *expected.shape, dy, dx)
        assert np.abs(found - expected[..., None].astype(int))[keep].max() <= 1


def test_window_cross_and_turning_by_keyboard_and_mouse(opened, served):
    volume, address = show(served, "RAS", affine=affine_of("RAS"))
    page = opened(served, address, *SMALL)
    page.wait_for_selector(".pane[data-shown]")
    page.locator("[data-act=volume]").click()
    await_drawing(page)
    page.get_by_role("button", name="Axial").click()
    await_drawing(page, 2)
    plane = volume_planes(affine_of("RAS"))[0]
    page.locator("#solid-low").fill("0.3")
    page.locator("#solid-high").fill("0.5")
    page.keyboard.press("Tab")
    await_drawing(page, 3)
    page.keyboard.press("i")
    await_drawing(page, 5)
    expected = turn(grey_levels(volume[4], (0.3, 0.5), invert=True), plane)
    steps = np.linalg.norm(affine_of("RAS")[:3, :2], axis=0)[::-1]
    keep = away_from_cross(*expected.shape)
    assert np.abs(seen(page, *expected.shape, *steps)[..., 0] - expected.astype(int))[keep].max() <= 1
    # One voxel to the patient's right, two to the front, one up; the value is of the array, not of the screen.
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "PageUp"):
        page.keyboard.press(key)
    place = f"(6, 9, 5)  {float(f'{volume[5, 9, 6]:.4g}'):g} a.u."
    page.wait_for_function("wanted => document.querySelector('#solid-value').textContent === wanted", arg=place)
    # With the mouse the focus goes into the frame; its keys are still the page's.
    box = page.locator(".solid iframe").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("() => document.querySelector('#solid-value').textContent.startsWith('(5, 7, 5)')")
    page.keyboard.press("5")
    before = page.locator(".solid iframe").screenshot()
    for key in "llk":
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    assert page.locator(".solid iframe").screenshot() != before
    page.keyboard.press("Escape")
    page.locator("#volume").wait_for(state="hidden")
    # The dialog is hidden first; its close event, a moment later, takes the frame away.
    page.locator(".solid iframe").wait_for(state="detached")
    assert page.locator("#refused").is_hidden()


def test_the_frame_reaches_neither_the_page_nor_the_server(chromium, served):
    _, address = show(served, "RAS", affine=affine_of("RAS"))
    context = chromium.new_context()
    context.add_cookies([{"name": name, "value": v, "url": served.address} for name, v in served.cookie.items()])
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(".pane[data-shown]")
    page.keyboard.press("v")
    await_drawing(page)
    frame = next(frame for frame in page.frames if frame.url.endswith("/niivue"))
    assert frame.evaluate("origin") == "null"
    reach = "async (act) => { try { await eval_free[act](); return 'reached'; } catch (error) { return error.name; } }"
    acts = (
        "{cookie: () => document.cookie, page: () => parent.document.title, storage: () => localStorage.length,"
        " server: () => fetch('/health'), elsewhere: () => fetch('https://example.org/')}"
    )
    for act in ("cookie", "page", "storage", "server", "elsewhere"):
        said = frame.evaluate(reach.replace("eval_free", acts), act)
        assert said in ("SecurityError", "TypeError"), (act, said)
    context.close()


def test_without_webgl2_three_planes_are_shown(launch, served):
    _, address = show(served, "RAS", affine=affine_of("RAS"))
    with quiet_pages(launch("--disable-3d-apis")) as open_page:
        page = open_page(served, address)
        page.wait_for_selector(".pane[data-shown]")
        page.keyboard.press("v")
        page.wait_for_function("() => document.querySelectorAll('.pane[data-shown]').length === 3")
        assert "no WebGL2" in page.locator("#refused").inner_text()
        assert page.locator("#volume").is_hidden()
        assert page.locator(".mark.place").all_text_contents() == ["Axial", "Coronal", "Sagittal"]


@pytest.mark.parametrize("size", [(1024, 640), (640, 900)])
def test_the_dialog_fits_and_axe_finds_no_barrier(opened, served, size):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed.")
    _, address = show(served, "RAS", affine=affine_of("RAS"))
    page = opened(served, address, *size)
    page.wait_for_selector(".pane[data-shown]")
    page.keyboard.press("v")
    await_drawing(page)
    report = axe.Axe().run(page)
    assert report.violations_count == 0, report.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
