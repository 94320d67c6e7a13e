"""The viewer as a person uses it, in Chromium, compared with what the arrays say."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsd_med.data.display import turn, volume_planes
from rsd_med.data.windowing import grey_levels
from tests.apps.viewer.phantom import asymmetric

RAS = np.diag([2.0, 1.0, 3.0, 1.0])
BAR, TOP, BOTTOM = 64, 26, 30


@pytest.fixture(scope="module")
def panes(served):
    """Return pictures of one phantom: reference, reconstruction, uncertainty, and one whose place is unknown."""
    from apps.inspector.web.stored import add_volume

    volume = asymmetric()
    noisy = volume + np.random.default_rng(0).normal(0, 0.05, volume.shape).astype(np.float32)
    spread = np.where(volume > 0.3, volume / 10, np.nan)
    shared = {"affine": RAS, "spacing": (3.0, 1.0, 2.0), "unit": "a.u."}
    session = served.session
    return {
        "reference": add_volume(session, volume, title="Reference", window=(0, 1), **shared),
        "result": add_volume(session, noisy, title="One step", window=(0, 1), **shared),
        "spread": add_volume(session, spread, title="Spread", window=(0, 0.1), kind="uncertainty", **shared),
        "lost": add_volume(session, volume, title="No place", unit="", window=(0, 1)),
    }


@pytest.fixture(scope="module")
def arrays(served, panes):
    from apps.inspector.web.stored import read_volume

    return {name: np.asarray(read_volume(served.session, pane.artefact)) for name, pane in panes.items()}


def ready(page, count=1):
    page.wait_for_function("n => document.querySelectorAll('.pane[data-shown]').length >= n", arg=count)
    settle(page)


def settle(page):
    """Let two frames pass: what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def shown(page, number=0):
    return int(page.locator(".pane").nth(number).get_attribute("data-shown"))


def wait_shown(page, slice_number, number=0):
    page.wait_for_function(
        "([i, n]) => document.querySelectorAll('.pane')[i].dataset.shown == n", arg=[number, slice_number]
    )
    settle(page)


def pixels(page, shape, spacing, number=0, scale=1):
    """Colours on the screen at the middle of every pixel of a fitted picture, (rows, columns, 3)."""
    page.evaluate("for (const mark of document.querySelectorAll('.mark')) mark.style.visibility = 'hidden'")
    page.mouse.move(1, 1)
    settle(page)
    stage = page.locator(".stage").nth(number)
    screen = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("RGB"))
    width, height = screen.shape[1] / scale - BAR, screen.shape[0] / scale - TOP - BOTTOM
    rows, columns = shape
    fit = min(width / (columns * spacing[1]), height / (rows * spacing[0]))
    dy, dx = fit * spacing[0], fit * spacing[1]
    y = scale * (TOP + height / 2 + (np.arange(rows) + 0.5 - rows / 2) * dy)
    x = scale * (width / 2 + (np.arange(columns) + 0.5 - columns / 2) * dx)
    return screen[y.astype(int)[:, None], x.astype(int)]


def number_of(text):
    return float(text.replace("−", "-"))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "unknown"])
def test_the_screen_shows_the_array_turned_as_it_should(opened, served, codes):
    from apps.inspector.web.stored import add_volume
    from tests.data.test_display import affine_of

    volume = asymmetric((9, 16, 12))
    affine = None if codes == "unknown" else affine_of(codes)
    spacing = (3.0, 0.7, 1.1)
    pane = add_volume(served.session, volume, title=codes, unit="", window=(0.1, 0.8), affine=affine, spacing=spacing)
    page = opened(served, served.show(pane))
    ready(page)
    for plane in volume_planes(affine):
        page.locator("#plane").select_option(str(plane.axis))
        ready(page)
        middle = volume.shape[plane.axis] // 2
        assert shown(page) == middle + 1
        expected = turn(grey_levels(volume.take(middle, axis=plane.axis), (0.1, 0.8)), plane)
        steps = [step for axis, step in enumerate(spacing) if axis != plane.axis]
        letters = [page.locator(f".mark.{edge}").text_content() for edge in ("left", "right", "top", "bottom")]
        assert letters == (["", "", "", ""] if plane.letters is None else list(plane.letters.values()))
        seen = pixels(page, expected.shape, steps[::-1] if plane.transpose else steps)
        assert (seen == expected[..., None]).all()
        told = page.locator(".head").text_content()
        assert ("Radiological convention" in told) == (affine is not None)
        assert ("Orientation unknown" in told) == (affine is None)


def test_the_window_is_the_readers(opened, served, panes, arrays):
    page = opened(served, served.show(panes["lost"]))
    ready(page)
    middle = arrays["lost"][12]

    def seen():
        return pixels(page, middle.shape, (1, 1))[..., 0]

    page.locator("#low").fill("0.3")
    page.locator("#high").fill("0.5")
    page.keyboard.press("Enter")
    assert np.array_equal(seen(), grey_levels(middle, (0.3, 0.5)))
    page.locator(".stage").focus()
    page.keyboard.press("i")
    assert np.array_equal(seen(), grey_levels(middle, (0.3, 0.5), invert=True))
    page.keyboard.press("i")
    page.keyboard.press("3")
    assert np.array_equal(seen(), grey_levels(middle, (middle.min(), middle.max())))
    page.locator("#preset").select_option("auto")
    assert np.array_equal(seen(), grey_levels(middle, np.percentile(middle.astype(float), [1, 99])))
    page.locator(".stage").focus()
    page.keyboard.press("1")
    assert np.array_equal(seen(), grey_levels(middle, (0, 1)))
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 150, steps=4)
    page.mouse.up()
    low, high = (float(page.locator(field).input_value()) for field in ("#low", "#high"))
    assert high - low > 1.5  # to the right: broader
    assert (low + high) / 2 < 0.45  # up: lower level, brighter picture
    assert np.abs(seen().astype(int) - grey_levels(middle, (low, high))).max() <= 1  # the fields show six digits


def test_keys_turn_the_slices_of_linked_pictures(opened, served, panes):
    page = opened(served, served.show(panes["reference"], panes["result"], panes["spread"]))
    ready(page, 3)
    page.locator(".stage").nth(1).focus()
    for key, expected in [
        ("ArrowDown", 14), ("ArrowUp", 13), ("PageDown", 23), ("End", 24), ("ArrowDown", 24), ("Home", 1),
        ("PageUp", 1),
    ]:  # fmt: skip
        page.keyboard.press(key)
        for number in range(3):
            wait_shown(page, expected, number)
    assert page.locator(".mark.number").all_text_contents() == ["1 / 24"] * 3
    page.locator(".stage").first.hover()
    page.mouse.wheel(0, 100)
    for number in range(3):
        wait_shown(page, 2, number)
    page.keyboard.press("+")
    settle(page)
    scales = page.locator(".pane").evaluate_all("(panes) => panes.map((pane) => pane.dataset.scale.split(' '))")
    lengths = [float(length) for *_, length in scales]
    assert lengths == pytest.approx([lengths[0]] * 3, rel=1e-3)  # columns may differ by a part of a pixel
    page.locator("#low").fill("0.2")
    page.keyboard.press("Tab")
    settle(page)
    windows = page.locator(".mark.window").all_text_contents()
    assert windows[0] == windows[1] == "W 0.8  L 0.6"
    assert windows[2] == "W 0.1  L 0.05"  # another quantity keeps its own
    page.locator("[data-act=link]").click()
    page.locator(".stage").nth(2).focus()
    page.keyboard.press("End")
    wait_shown(page, 24, 2)
    assert [shown(page, number) for number in range(3)] == [2, 2, 24]


def test_lengths_and_regions_by_mouse(opened, served, panes, arrays):
    page = opened(served, served.show(panes["reference"], panes["result"]))
    ready(page, 2)
    stage = page.locator(".stage").first.bounding_box()
    fit = min((stage["width"] - BAR) / (30 * 2), (stage["height"] - TOP - BOTTOM) / 40)
    middle = (stage["x"] + (stage["width"] - BAR) / 2, stage["y"] + TOP + (stage["height"] - TOP - BOTTOM) / 2)

    def drag(tool, begin, end):
        """From and to drawn (row, column)."""
        page.locator(f"[data-tool={tool}]").click()
        for place, act in ((begin, page.mouse.down), (end, page.mouse.up)):
            page.mouse.move(middle[0] + (place[1] - 15) * 2 * fit, middle[1] + (place[0] - 20) * fit)
            act()
        settle(page)

    drag("distance", (10, 5), (18, 8))
    item = page.locator("#measures li")
    assert number_of(re.search(r": (\S+) mm", item.text_content())[1]) == pytest.approx(10.0, abs=0.4)
    drag("roi", (6, 4), (20, 18))
    told = item.nth(1).text_content()
    plane = volume_planes(RAS)[0]
    y, x = np.indices((40, 30)) + 0.5
    inside = ((y - 13) / 7) ** 2 + ((x - 11) / 7) ** 2 <= 1
    for title, name in (("Reference", "reference"), ("One step", "result")):
        values = turn(arrays[name][12], plane)[inside]
        mean, sd, count = re.search(rf"{title}: mean (\S+), SD (\S+) a.u., n (\d+)", told).groups()
        assert int(count) == pytest.approx(inside.sum(), abs=12)  # the mouse stands on whole pixels of the screen
        assert number_of(mean) == pytest.approx(values.mean(), abs=0.01)
        assert number_of(sd) == pytest.approx(values.std(ddof=1), abs=0.01)
    name = item.first.get_by_role("textbox")
    name.fill("=rim")
    name.press("Enter")
    name.press("Tab")
    # An end of the length is taken by the mouse and put elsewhere.
    page.locator("[data-tool=window]").click()
    for place, act in (((18, 8), page.mouse.down), ((10, 11), page.mouse.up)):
        page.mouse.move(middle[0] + (place[1] - 15) * 2 * fit, middle[1] + (place[0] - 20) * fit)
        act()
    settle(page)
    moved = page.locator("#measures li", has_text="mm").text_content()
    assert number_of(re.search(r": (\S+) mm", moved)[1]) == pytest.approx(12.0, abs=0.6)
    with page.expect_download() as download:
        page.locator("[data-act=table]").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    rows = list(csv.reader(io.StringIO(text)))
    assert [row[:3] for row in rows[1:3]] == [["R2", "oval", "Reference"], ["R2", "oval", "One step"]]
    values = turn(arrays["result"][12], plane)[inside]
    assert [float(rows[2][column]) for column in (7, 8)] == pytest.approx([values.mean(), values.std(ddof=1)], abs=0.01)
    assert rows[3][:4] == ["'=rim", "length", "Reference", "Axial"]
    assert rows[-1] == ["Research use only. Not for diagnosis."]
    page.locator("#measures li", has_text="mean").get_by_role("button", name="Remove").click()
    settle(page)
    assert item.count() == 1
    page.keyboard.press("ArrowDown")
    page.locator(".stage").first.focus()
    page.keyboard.press("Delete")
    page.locator("#measures").wait_for(state="hidden")


def test_a_length_and_a_value_without_a_mouse(opened, served, panes, arrays):
    page = opened(served, served.show(panes["lost"]))
    ready(page)
    page.locator(".stage").focus()
    page.keyboard.press("l")
    page.keyboard.press("Shift+ArrowRight")  # the cross appears in the middle
    settle(page)
    assert page.locator("#spoken").text_content() == f"(15, 20, 12)  {arrays['lost'][12, 20, 15]:.4g}"
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    for _ in range(4):
        page.keyboard.press("Shift+ArrowDown")
    settle(page)
    assert page.locator(".mark.value").text_content() == f"(18, 24, 12)  {arrays['lost'][12, 24, 18]:.4g}"
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator("#measures input").input_value() == "D1"
    assert ", slice 13: 5 px" in page.locator("#measures li").text_content()


def test_the_value_under_the_mouse_is_the_arrays(opened, served, panes, arrays):
    page = opened(served, served.show(panes["reference"], panes["result"]))
    ready(page, 2)
    stage = page.locator(".stage").first.bounding_box()
    fit = min((stage["width"] - BAR) / 60, (stage["height"] - TOP - BOTTOM) / 40)
    # The grid runs to the right and the front: on the screen both are turned round.
    column, row = 4, 33
    page.mouse.move(
        stage["x"] + (stage["width"] - BAR) / 2 + (29 - column + 0.5 - 15) * 2 * fit,
        stage["y"] + TOP + (stage["height"] - TOP - BOTTOM) / 2 + (39 - row + 0.5 - 20) * fit,
    )
    settle(page)
    values = [
        f"({column}, {row}, 12)  {float(f'{arrays[n][12, row, column]:.4g}'):g} a.u." for n in ("reference", "result")
    ]
    assert page.locator(".mark.value").all_text_contents() == values


def test_a_difference_is_of_the_numbers(opened, served, panes, arrays):
    page = opened(served, served.show(panes["reference"], panes["result"]))
    ready(page, 2)
    page.keyboard.press("d")
    ready(page, 3)
    assert page.locator(".title").nth(2).text_content() == "Reference − One step"
    difference = arrays["reference"][12] - arrays["result"][12]
    expected = turn(grey_levels(difference, (-0.25, 0.25)), volume_planes(RAS)[0])
    assert np.array_equal(pixels(page, (40, 30), (1, 2), 2)[..., 0], expected)
    page.keyboard.press("d")
    page.wait_for_function("() => document.querySelectorAll('.pane').length === 2")


def test_uncertainty_has_its_own_picture_in_viridis_and_lies_over_nothing_unasked(opened, served, panes, arrays):
    matplotlib = pytest.importorskip("matplotlib")
    page = opened(served, served.show(panes["reference"], panes["spread"]))
    ready(page, 2)
    plane = volume_planes(RAS)[0]
    plain = turn(grey_levels(arrays["reference"][12], (0, 1)), plane)
    spread = turn(arrays["spread"][12], plane)
    table = np.rint(np.array(matplotlib.colormaps["viridis"].colors) * 255).astype(np.uint8)
    colours = table[grey_levels(spread, (0, 0.1))]
    colours[np.isnan(spread)] = 0
    assert 0 < np.isnan(spread).sum() < spread.size
    assert np.array_equal(pixels(page, (40, 30), (1, 2), 1), colours)
    assert (pixels(page, (40, 30), (1, 2)) == plain[..., None]).all()
    assert "not a probability of error" in page.locator(".note").all_text_contents()[1]
    page.locator("[data-act=overlay]").click()
    page.locator("#opacity").fill("100")
    settle(page)
    over = pixels(page, (40, 30), (1, 2))
    assert np.array_equal(over, np.where(np.isnan(spread)[..., None], plain[..., None], colours))


def test_three_planes_meet_where_the_cross_is_put(opened, served, panes):
    page = opened(served, served.show(panes["reference"]))
    ready(page)
    page.keyboard.press("m")
    ready(page, 3)
    assert page.locator(".mark.place").all_text_contents() == ["Axial", "Coronal", "Sagittal"]
    page.keyboard.press("x")
    page.locator(".stage").first.focus()
    for key in ("Shift+ArrowRight", "Shift+ArrowDown", "Shift+ArrowDown"):
        page.keyboard.press(key)
    settle(page)
    # From the middle: one to the right is one less in x, two down are two less in y (the first press shows the cross).
    before = (12, 20, 15)
    values = page.locator(".mark.value").all_text_contents()
    assert len({value.split(")")[0] for value in values}) == 1
    x, y, z = (int(part) for part in re.search(r"\((\d+), (\d+), (\d+)\)", values[0]).groups())
    assert z == before[0]
    assert (shown(page, 1) - 1, shown(page, 2) - 1) == (y, x)
    assert (y, x) != before[1:]


def test_sharp_screens_show_the_same_numbers(opened, served, panes, arrays):
    page = opened(served, served.show(panes["lost"]), device_scale_factor=2)
    ready(page)
    assert np.array_equal(pixels(page, (40, 30), (1, 1), scale=2)[..., 0], grey_levels(arrays["lost"][12], (0, 1)))


def test_help_opens_and_closes_by_key(opened, served, panes):
    page = opened(served, served.show(panes["lost"]))
    ready(page)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    assert page.locator("#keys tr").count() > 30
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()


def test_a_kept_picture_carries_the_notice(opened, served, panes, tmp_path):
    page = opened(served, served.show(panes["lost"]))
    ready(page)
    page.locator(".stage").focus()
    with page.expect_download() as kept:
        page.keyboard.press("e")
    kept.value.save_as(tmp_path / "picture.png")
    picture = np.asarray(Image.open(tmp_path / "picture.png").convert("RGB")).astype(int)
    stage = page.locator(".stage").bounding_box()
    assert picture.shape[0] == pytest.approx(stage["height"] + 60, abs=1)
    below = picture[-20:]
    assert ((below[..., 0] > 200) & (below[..., 2] < 150)).sum() > 200  # yellow letters


def test_flicker_and_wipe_put_one_picture_in_the_place_of_another(opened, served, panes, arrays):
    page = opened(served, served.show(panes["reference"], panes["result"]))
    ready(page, 2)
    plane = volume_planes(RAS)[0]
    reference, result = (turn(grey_levels(arrays[name][12], (0, 1)), plane) for name in ("reference", "result"))
    page.locator("#beside").select_option(label="One step")
    for share, edge in ((0, 0), (50, 15), (100, 30)):
        page.locator("#wipe").fill(str(share))
        settle(page)
        expected = np.concatenate([reference[:, :edge], result[:, edge:]], axis=1)
        drawn = pixels(page, (40, 30), (1, 2))[..., 0]
        columns = [column for column in range(30) if column not in (edge - 1, edge)]  # the line lies there
        assert np.array_equal(drawn[:, columns], expected[:, columns])
        assert page.locator(".title").first.text_content() == ("One step" if share == 0 else "Reference")


def test_the_wheel_never_traps_the_page(opened, served, panes):
    page = opened(served, served.show(panes["reference"]))
    ready(page)
    taken = """([deltaY]) => !document.querySelector('.stage').dispatchEvent(
      new WheelEvent('wheel', { deltaY, bubbles: true, cancelable: true }))"""
    assert page.evaluate(taken, [100])
    page.locator(".stage").focus()
    page.keyboard.press("End")
    wait_shown(page, 24)
    assert not page.evaluate(taken, [100])
    assert page.evaluate(taken, [-100])


def test_fingers_zoom_and_move(opened, served, panes):
    page = opened(served, served.show(panes["lost"]), width=820, height=1180, has_touch=True)
    ready(page)
    before = page.locator(".pane").get_attribute("data-scale").split()
    page.evaluate("""() => {
      const stage = document.querySelector('.stage');
      stage.setPointerCapture = () => {};
      const box = stage.getBoundingClientRect();
      const touch = (type, id, x, y) => stage.dispatchEvent(new PointerEvent(type, { bubbles: true, pointerId: id,
        pointerType: 'touch', clientX: box.x + x, clientY: box.y + y, button: 0 }));
      touch('pointerdown', 1, 200, 200); touch('pointerdown', 2, 300, 200);
      touch('pointermove', 2, 400, 200); touch('pointerup', 1, 200, 200); touch('pointerup', 2, 400, 200);
    }""")
    settle(page)
    after = page.locator(".pane").get_attribute("data-scale").split()
    per_pixel = [float(length) / float(units) for units, _, length in (before, after)]
    assert per_pixel[1] / per_pixel[0] == pytest.approx(2, rel=1e-6)


def test_without_scripts_the_server_draws(opened, served, panes):
    page = opened(served, served.show(panes["reference"], panes["lost"]), java_script_enabled=False)
    assert page.locator("#plain img").count() == 2
    assert "patient's R on the left" in page.locator("figcaption").first.text_content()
    page.get_by_text("next slice").click()
    assert "slice 14 of 24" in page.locator("figcaption").first.text_content()


WATCH_WRITING = """() => {
  window.written = new Map(); // what was written into each canvas since it was cleared
  const { fillRect, fillText } = CanvasRenderingContext2D.prototype;
  Object.assign(CanvasRenderingContext2D.prototype, {
    fillRect(x, y, width, height) {
      if (!x && !y && width === this.canvas.width && height === this.canvas.height) written.set(this.canvas, []);
      fillRect.call(this, x, y, width, height);
    },
    fillText(text, x, y, ...most) {
      const ink = this.measureText(text);
      const narrow = Math.min(1, (most[0] ?? Infinity) / ink.width);
      written.get(this.canvas)?.push({ text, left: x, right: x + ink.width * narrow,
        top: y - ink.actualBoundingBoxAscent, bottom: y + ink.actualBoundingBoxDescent });
      fillText.call(this, text, x, y, ...most);
    },
  });
}"""
COVERED = """() => {
  const found = [];
  const clash = (texts) => texts.forEach((a, i) => texts.slice(0, i).forEach((b) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 1) found.push(`${a.text} | ${b.text}`);
  }));
  const shown = [...document.querySelectorAll('.pane')].filter((pane) => pane.offsetParent);
  for (const pane of shown) {
    const canvas = pane.querySelector('canvas');
    const { left, top, right } = canvas.getBoundingClientRect();
    const drawn = written.get(canvas).map((ink) => ({ text: ink.text,
      left: left + ink.left, right: left + ink.right, top: top + ink.top, bottom: top + ink.bottom }));
    for (const { text, right: end } of drawn) if (end > right + 1) found.push(`${text} is cut off`);
    const worded = [...pane.querySelectorAll('.mark, .title, .note, .slider span')].filter((one) => one.textContent);
    const own = worded.map((one) => {
      const range = document.createRange();
      range.selectNodeContents(one);
      const [words, box] = [range.getBoundingClientRect(), one.getBoundingClientRect()];
      return { text: one.textContent, top: words.top, bottom: words.bottom,
        left: Math.max(words.left, box.left), right: Math.min(words.right, box.right) };
    });
    clash([...drawn, ...own]);
  }
  const controls = [...document.querySelectorAll('.bar button, .bar select, .bar input, .bar .quiet')];
  clash(controls.filter((one) => one.offsetParent).map((one) => (
    { ...one.getBoundingClientRect().toJSON(), text: one.title || one.id || one.textContent })));
  return { found, texts: shown.map((pane) => written.get(pane.querySelector('canvas')).map(({ text }) => text)) };
}"""


def nothing_is_covered(page, *needed):
    settle(page)
    looked = page.evaluate(COVERED)
    assert looked["found"] == []
    assert all(any(text.startswith(words) for text in looked["texts"][0]) for words in needed), looked["texts"]


def no_word_covers_another(page):
    """Side by side with a value and many measures, inverted, then in three planes."""
    page.evaluate(WATCH_WRITING)
    stage = page.locator(".stage").first.bounding_box()
    width, height = stage["width"] - BAR, stage["height"]
    drags = [(0.3, 0.3, 0.5, 0.4), (0.25, 0.2, 0.48, 0.43), (0.2, 0.35, 0.51, 0.45), (0.5, 0.8, 0.95, 0.99)]
    drags.append((0.4, 0.5, 0.6, 0.01))
    for number, (ax, ay, bx, by) in enumerate(drags):
        page.locator(f"button[data-tool={('distance', 'roi')[number % 2]}]").click()
        page.mouse.move(stage["x"] + ax * width, stage["y"] + ay * height)
        page.mouse.down()
        page.mouse.move(stage["x"] + bx * width, stage["y"] + by * height)
        page.mouse.up()
    nothing_is_covered(page, "D1: ", "R2: ", "D5: ")
    page.locator(".stage").first.focus()
    page.keyboard.press("i")
    page.locator("#low").fill("-12345.6")
    page.locator("#high").fill("12345.7")
    page.keyboard.press("Enter")
    nothing_is_covered(page)
    page.locator("[data-act=planes]").click()
    ready(page, 3)
    nothing_is_covered(page)


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 800), (820, 1180), (560, 900)])
def test_it_fits_no_word_covers_another_and_axe_finds_no_barrier(opened, served, panes, size):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(served, served.show(panes["reference"], panes["result"], panes["spread"]), *size)
    ready(page, 3)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    no_word_covers_another(page)
    page.locator("[data-act=planes]").click()
    ready(page, 3)
    report = axe.Axe().run(page)
    assert report.violations_count == 0, report.generate_report()
    page.keyboard.press("?")
    report = axe.Axe().run(page)
    assert report.violations_count == 0, report.generate_report()
