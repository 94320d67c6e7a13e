import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from rsd_med.reporting.pictures import (
    GAP_LEVEL,
    choose_layout,
    clipped_share,
    crop_grid,
    png_uri,
    ramp,
    sheet,
    sheet_size,
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
    laid = sheet(levels, columns=3)
    assert laid.shape == (5, 11)
    assert (laid[0, 0], laid[0, 4], laid[0, 8], laid[3, 0], laid[3, 4]) == (1, 2, 3, 4, 5)
    assert set(np.unique(laid[2])) == {GAP_LEVEL} == set(np.unique(laid[:, 3]))
    assert set(np.unique(laid[3:, 8:])) == {GAP_LEVEL}
    assert sheet(levels[:2], columns=8).shape == (2, 7)


@pytest.mark.parametrize(("width", "height"), [(28, 28), (32, 32), (64, 64), (96, 72), (128, 128), (256, 300)])
def test_a_layout_magnifies_by_a_whole_number_and_fits_its_place(width, height):
    layout = choose_layout(width, height, place=296)
    assert layout.magnification == int(layout.magnification) >= 1
    assert 0.6 * 296 < sheet_size(layout.columns, width) * layout.magnification <= 296
    assert layout.rows >= 1


def test_small_images_come_several_to_a_sheet_and_large_ones_shrink():
    assert choose_layout(32, 32, place=296).columns == 3
    assert choose_layout(640, 320, place=296) == choose_layout(640, 640, place=296)
    assert choose_layout(592, 592, place=296).magnification == 0.5


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
    assert np.array_equal(found, sheet(levels[[0, 1, 2, 8, 9, 10]], columns=3))
    assert crop_grid(path, (31, 32), 3, 2) is None
    assert crop_grid(path, (32, 33), 3, 2) is None
    path.write_bytes(path.read_bytes()[:200])
    assert crop_grid(path, (32, 32), 3, 2) is None
    path.write_text("no picture")
    assert crop_grid(path, (32, 32), 3, 2) is None
