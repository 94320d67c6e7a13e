import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from rsd_med.reporting.pictures import (
    GAP,
    GAP_LEVEL,
    choose_layout,
    clipped_share,
    crop_grid,
    enlarge,
    png_uri,
    ramp,
    sheet,
)
from rsd_med.runs.grids import WHITE, save_grid, to_grey_levels


def decode(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def test_png_keeps_every_level():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(decode(png_uri(levels)), levels)
    colours = np.stack([levels, 255 - levels, levels // 2], -1)
    assert np.array_equal(decode(png_uri(colours)), colours)


def test_sheet_lays_images_row_by_row_with_gaps():
    levels = np.stack([np.full((2, 3), i, dtype=np.uint8) for i in range(1, 6)])
    laid = sheet(levels, columns=3, gap=1)
    assert laid.shape == (5, 11)
    assert (laid[0, 0], laid[0, 4], laid[0, 8], laid[3, 0], laid[3, 4]) == (1, 2, 3, 4, 5)
    assert set(np.unique(laid[2])) == {GAP_LEVEL} == set(np.unique(laid[:, 3]))
    assert set(np.unique(laid[3:, 8:])) == {GAP_LEVEL}
    assert sheet(levels[:2], columns=8).shape == (2, 6 + GAP)


@pytest.mark.parametrize(
    ("width", "height", "columns", "rows"),
    [(28, 28, 2, 2), (64, 64, 2, 2), (96, 72, 2, 3), (128, 128, 2, 2), (256, 300, 1, 1), (640, 320, 1, 2)],
)
def test_a_layout_fills_its_place_and_shows_large_images_one_by_one(width, height, columns, rows):
    layout = choose_layout(width, height, place=400)
    assert (layout.columns, layout.rows) == (columns, rows)
    assert layout.columns * width * layout.magnification + (columns - 1) * GAP == pytest.approx(400)
    assert width * layout.magnification >= 120


def test_enlarged_images_keep_their_levels_and_stay_apart():
    levels = np.stack([np.full((8, 6), level, dtype=np.uint8) for level in (0, 200)])
    found = enlarge(levels, 3.5)
    assert found.shape == (2, 28, 21)
    assert (found[0] == 0).all()
    assert (found[1] == 200).all()
    assert enlarge(np.zeros((2, 8, 6, 3), np.uint8), 0.5).shape == (2, 4, 3, 3)


def test_enlarging_keeps_what_is_smooth_and_shows_what_is_grain():
    """A wave that the pixels can hold is still that wave, up to the finest; linear interpolation halves its power."""
    x = np.arange(32) + 0.5
    wave = np.broadcast_to(128 + 100 * np.sin(2 * np.pi * x / 16), (1, 32, 32)).astype(np.uint8)
    fine = (np.arange(128) + 0.5) / 4
    expected = 128 + 100 * np.sin(2 * np.pi * fine / 16)
    assert np.abs(enlarge(wave, 4)[0, :, 8:-8].astype(float) - expected[8:-8]).max() < 3
    grain = (128 + 40 * (np.indices((32, 32)).sum(0) % 2 * 2 - 1)).astype(np.uint8)[None]
    finest = 40 * np.outer(*2 * [np.cos(np.pi * (np.arange(128) + 0.5) / 4)])
    assert enlarge(grain, 4)[0, 8:-8, 8:-8].std() == pytest.approx(finest[8:-8, 8:-8].std(), rel=0.1)


def test_the_scale_bar_goes_through_the_same_window_as_the_images():
    for natural, ends in ((False, (0.0, WHITE)), (True, (-1.0, 1.0))):
        levels, found = ramp(natural)
        assert found == ends
        assert levels.shape == (1, 256)
        assert np.array_equal(levels[0], np.arange(256))
    value = torch.tensor([[[[0.3]], [[0.4]]]])
    assert to_grey_levels(value)[0, 0, 0] == round(0.5 * 255 / WHITE)


def test_clipped_share_counts_what_lies_beyond_the_window():
    magnitudes = torch.tensor([0.0, 0.5, WHITE, 1.1 * WHITE]).reshape(1, 1, 2, 2)
    assert clipped_share(torch.cat([magnitudes, torch.zeros_like(magnitudes)], 1)) == 0.25
    assert clipped_share(torch.tensor([-1.5, -1.0, 1.0, 1.5]).reshape(1, 1, 2, 2)) == 0.5


def test_grids_are_cropped_image_by_image(tmp_path, knees):
    path = tmp_path / "student_0000000100.png"
    save_grid(knees.student, path)
    found = crop_grid(path, (32, 32), columns=3, rows=2)
    levels = to_grey_levels(knees.student)
    assert np.array_equal(found, levels[[0, 1, 2, 8, 9, 10]])
    assert crop_grid(path, (31, 32), 3, 2) is None
    assert crop_grid(path, (32, 33), 3, 2) is None
    path.write_bytes(path.read_bytes()[:200])
    assert crop_grid(path, (32, 32), 3, 2) is None
    path.write_text("no picture")
    assert crop_grid(path, (32, 32), 3, 2) is None
