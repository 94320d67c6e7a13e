"""A reader at work, in Chromium; and what the study's addresses refuse."""

import re

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.web.throttle import TRIES
from tests.apps.conftest import Served
from tests.apps.study.conftest import PREFERENCE, write_study


@pytest.fixture
def studied(tmp_path):
    served = []

    def serve(text=PREFERENCE, **more) -> Served:
        folder = tmp_path / f"study{len(served)}"
        folder.mkdir()
        served.append(Served(tmp_path / f"sessions{len(served)}", write_study(folder, text, **more)))
        return served[-1]

    yield serve
    for server in served:
        server.stop()


def begin(page, server, reader="r1"):
    page.locator("#reader").select_option(reader)
    page.locator("#pin").fill(server.study.pin(reader))
    page.get_by_role("button", name="Begin or go on").click()


def await_question(page, number):
    page.wait_for_selector(f"#panes[data-ready='{number}']")


def shown_windows(page):
    return page.locator(".mark.window").all_text_contents()


def test_a_reader_answers_by_mouse_leaves_and_goes_on_by_keyboard(studied, opened):
    server = studied()
    page = opened(server, f"{server.address}/study")
    begin(page, server)
    await_question(page, 0)
    assert page.locator("#progress").text_content() == "Question 1 of 5"
    assert page.locator(".title").all_text_contents() == ["Image A", "Image B"]
    assert shown_windows(page) == ["W 1  L 0.5"] * 2
    dom = page.content()
    assert not re.search(r"student|wavelet|npy|knees", dom)
    first = server.study.current("r1")
    page.get_by_role("radio", name="Image B").check()
    page.get_by_label("4", exact=True).check()
    page.get_by_label("Comment").fill("sharper")
    page.get_by_role("button", name="Save and go on").click()
    await_question(page, 1)
    (kept,) = server.study.answers()
    assert kept["choice"] == first.arms[1]
    assert (kept["confidence"], kept["comment"], kept["zoomed"]) == (4, "sharper", False)
    assert 0 < kept["response_ms"] < 60_000

    # A slip: one step back, the answer stands there and can be changed; then the second question again.
    page.get_by_role("button", name="One step back").click()
    page.wait_for_selector("#panes[data-shown='3']")
    assert page.locator("#progress").text_content() == "Question 1 of 5"
    assert page.get_by_role("radio", name="Image B").is_checked()
    assert page.get_by_label("Comment").input_value() == "sharper"
    assert not page.locator("#back").is_visible()
    page.get_by_role("radio", name="Image A").check()
    page.get_by_role("button", name="Save the change").click()
    await_question(page, 1)
    (kept,) = server.study.answers()
    assert (kept["choice"], kept["confidence"], kept["revised"]) == (first.arms[0], 4, True)

    # A reload changes nothing; another day the same reader goes on at the second question, without a mouse.
    page.reload()
    await_question(page, 1)
    page.get_by_role("button", name="Leave").first.click()
    page.locator("#reader").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type(server.study.pin("r1"))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    await_question(page, 1)
    page.keyboard.press("i")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("() => [...document.querySelectorAll('.pane')].every((pane) => pane.dataset.shown === '3')")
    assert all("inverted" in window for window in shown_windows(page))
    second = server.study.current("r1")
    page.locator("#choices input").first.focus()
    page.keyboard.press("Space")
    page.locator("#sure input").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    await_question(page, 2)
    kept = server.study.answers()[1]
    assert (kept["choice"], kept["confidence"]) == (second.arms[0], 2)
    assert not any("inverted" in window for window in shown_windows(page))  # every question begins with the one window
    for number in range(2, 5):
        await_question(page, number)
        page.get_by_label("No difference").check()
        page.get_by_label("3", exact=True).check()
        page.get_by_role("button", name="Save and go on").click()
    page.get_by_text("Thank you").wait_for()
    page.get_by_role("button", name="Back to the last question").click()
    page.wait_for_selector("#panes[data-ready='4']")
    assert page.get_by_label("No difference").is_checked()
    page.get_by_role("button", name="Save the change").click()
    page.get_by_text("Thank you").wait_for()
    assert [answer["choice"] for answer in server.study.answers()[2:]] == ["equal"] * 3


def test_what_is_missing_is_said_and_ranks_must_differ(studied, opened):
    text = PREFERENCE.replace("{kind: preference, allow_equal: true}", "{kind: ranking}").replace(
        "arms: [student, wavelet]", "arms: [student, teacher, wavelet]"
    )
    server = studied(text, arms=("student", "teacher", "wavelet"))
    page = opened(server, f"{server.address}/study")
    begin(page, server)
    await_question(page, 0)
    page.get_by_label("5", exact=True).check()
    lists = page.locator("#choices select")
    for i, rank in enumerate("112"):
        lists.nth(i).select_option(rank)
    page.get_by_role("button", name="Save and go on").click()
    page.get_by_text("Every image needs a rank of its own.").wait_for()
    assert server.study.answers() == []
    trial = server.study.current("r1")
    for i, rank in enumerate("231"):
        lists.nth(i).select_option(rank)
    page.get_by_role("button", name="Save and go on").click()
    await_question(page, 1)
    assert server.study.answers()[0]["choice"] == ">".join(trial.arms[i] for i in (2, 0, 1))


def fits(page):
    """Images and answers are on one screen, and the images have most of it."""
    height = page.evaluate("innerHeight")
    assert page.evaluate("document.documentElement.scrollHeight") <= height
    for control in ("#save", "#choices", ".notice >> visible=true"):
        box = page.locator(control).last.bounding_box()
        assert box["y"] + box["height"] <= height
    panes = page.locator("#panes").bounding_box()
    assert panes["height"] > 0.6 * height
    for canvas in page.locator("#panes canvas").all():
        box = canvas.bounding_box()
        assert box["y"] + box["height"] <= panes["y"] + panes["height"] + 1


@pytest.mark.parametrize("size", [(1280, 800), (820, 1180)])
def test_axe_finds_no_barrier(studied, opened, size):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    server = studied()
    page = opened(server, f"{server.address}/study", *size)

    def check():
        report = axe.Axe().run(page)
        assert report.violations_count == 0, report.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    page.get_by_text("For the coordinator").click()
    check()
    begin(page, server)
    await_question(page, 0)
    check()
    fits(page)
    page.get_by_role("button", name="Leave").first.click()
    page.get_by_text("For the coordinator").click()
    page.get_by_label("Code").fill(server.study.coordinator_code)
    page.get_by_role("button", name="Analysis").click()
    page.get_by_role("heading", name="Analysis of knees").wait_for()
    check()


def test_the_addresses_refuse(studied):
    server = studied()
    with server.client() as client:
        assert client.get("/study/next").status_code == 409  # nobody has begun
        pin = server.study.pin("r1")
        for reader, wrong in (("stranger", pin), ("r2", pin), ("r1", ""), ("r1", "ä" * 90)):
            assert client.post("/study/begin", json={"reader": reader, "pin": wrong}).status_code == 403
        assert client.post("/study/begin", content="{}", headers={"content-type": "text/plain"}).status_code == 415
        assert client.post("/study/begin", json=["r1"]).status_code == 400
        assert client.post("/study/begin", json={"reader": "r1", "pin": pin}).status_code == 200
        assert client.get("/study/next?back=true").json() == {"done": False, "total": 5, "answered": 5}
        source = client.get("/study/next").json()["panes"][0]["source"]
        volume = server.study.image("r1", source.rsplit("/", 1)[1])
        assert client.get(f"{source}/1/2").content == np.ascontiguousarray(volume[:, 2]).tobytes()
        for address in (f"{source}/0/3", f"{source}/3/0", "/study/image/unknown/0/0", "/study/answers.csv"):
            assert client.get(address).status_code in (404, 405)
        given = {"trial": 0, "choice": 0, "confidence": 1}
        assert client.post("/study/answer", json={**given, "choice": 9}).status_code == 422
        assert client.post("/study/answer", json={**given, "trial": 3}).status_code == 409
        assert client.post("/study/answer", json=given).status_code == 200
        assert client.post("/study/answer", json=given).status_code == 409
        for address in ("/study/analysis", "/study/answers.csv"):
            for code in ("0" * 20, "ä"):
                assert client.post(address, data={"code": code}).status_code == 403
        kept = client.post("/study/answers.csv", data={"code": server.study.coordinator_code})
        assert kept.text.splitlines()[0].startswith('"study_id","reader"')
        assert len(kept.text.splitlines()) == 2
        assert "attachment" in kept.headers["content-disposition"]
        assert "unsafe" not in client.get("/study").headers["content-security-policy"]


def test_the_page_opens_by_itself_and_guessing_pins_is_slowed(studied):
    import httpx

    server = studied()
    with httpx.Client(base_url=server.address, trust_env=False) as stranger:
        page = stranger.get("/study")
        assert page.status_code == 200
        assert "SameSite=Lax" in page.headers["set-cookie"]
        assert 'role="tab"' not in page.text
        guesses = [stranger.post("/study/begin", json={"reader": "r1", "pin": f"{n:06d}"}) for n in range(TRIES + 1)]
        assert [guess.status_code for guess in guesses] == [403] * TRIES + [429]
        assert stranger.post("/study/begin", json={"reader": "r2", "pin": server.study.pin("r2")}).status_code == 200


def test_with_logins_nobody_answers_for_another(studied):
    server = studied()
    server.session.user = "r2"
    with server.client() as client:
        assert client.post("/study/begin", json={"reader": "r1"}).json() == {"reader": "r2"}
        page = client.get("/study").text
        assert "<option>r2</option>" in page
        assert "<label hidden>PIN" in page
        assert "r1" not in page
        server.session.user = "stranger"
        assert client.post("/study/begin", json={"reader": "r1"}).status_code == 403
