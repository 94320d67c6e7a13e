"""What the viewer's addresses give, and what they refuse."""

import io

import numpy as np
import pytest
from PIL import Image

from apps.inspector.viewer.page import viewer_frame
from apps.inspector.web.stored import add_volume
from rsd_med.data.display import turn, volume_planes
from rsd_med.data.windowing import grey_levels
from tests.apps.viewer.phantom import asymmetric

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


@pytest.fixture(scope="module")
def pane(served):
    return add_volume(
        served.session,
        asymmetric((5, 7, 6)),
        title="<script>alert(1)</script>\"'",
        unit="<b>",
        window=(0, 1),
        affine=AFFINE,
    )


@pytest.fixture(scope="module")
def ask(served):
    with served.client() as client:
        yield client.get


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_come_bit_for_bit(ask, pane, axis):
    volume = asymmetric((5, 7, 6))
    answer = ask(f"/viewer/slice/{pane.artefact}/{axis}/3")
    assert answer.content == np.ascontiguousarray(volume.take(3, axis=axis)).tobytes()
    assert answer.headers["cache-control"] == "no-store"


def test_a_drawn_slice_is_turned_windowed_and_marked(ask, pane):
    picture = Image.open(io.BytesIO(ask(f"/viewer/still/{pane.artefact}/0/2.png?low=0.1&high=0.9&invert=1").content))
    expected = turn(grey_levels(asymmetric((5, 7, 6))[2], (0.1, 0.9), invert=True), volume_planes(AFFINE)[0])
    drawn = np.asarray(picture)
    assert np.array_equal(drawn[:7, :6], expected)
    assert drawn[7:].max() > 200  # the notice below


@pytest.mark.parametrize(
    "path",
    [
        "/viewer/slice/{}/0/5", "/viewer/slice/{}/0/-1", "/viewer/slice/{}/3/0", "/viewer/slice/unknown/0/0",
        "/viewer/slice/..%2f..%2fetc/0/0", "/viewer/still/unknown/0/0.png", "/viewer?panes=unknown",
        "/viewer/static/../page.py", "/viewer/static/%2e%2e/page.py",
    ],
)  # fmt: skip
def test_what_is_not_there_or_not_yours_is_not_found(ask, pane, path):
    assert ask(path.format(pane.artefact)).status_code in (400, 404)  # 400: the gate's word for such addresses


@pytest.mark.parametrize(
    "path",
    [
        "/viewer/slice/{}/0/x", "/viewer/still/{}/0/0.png?low=2&high=1", "/viewer/still/{}/0/0.png?low=nan",
        "/viewer?panes=" + ",".join("abcdefghijklmnopq"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(ask, pane, path):
    assert ask(path.format(pane.artefact)).status_code == 422


def test_another_session_sees_nothing(served, pane):
    paths = [
        f"/viewer/slice/{pane.artefact}/0/0",
        f"/viewer/still/{pane.artefact}/0/0.png",
        f"/viewer?panes={pane.artefact}",
    ]
    with served.client() as other:
        other.cookies = {served.store.cookie: served.store.create().token}
        assert [other.get(path).status_code for path in paths] == [404] * 3
        other.cookies = {}
        assert [other.get(path).status_code for path in paths] == [403] * 3


def test_words_from_files_stay_words(ask, pane):
    answer = ask(f"/viewer?panes={pane.artefact}")
    assert "<script>alert" not in answer.text
    assert "<b>" not in answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]
    frame = viewer_frame([pane])
    assert "<script>" not in frame
    assert frame.count('"') % 2 == 0
    with pytest.raises(ValueError, match="one to 16"):
        viewer_frame([])
