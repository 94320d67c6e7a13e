import math
import re

import pytest

from rsd_med.reporting.curves import Axis, line_chart
from rsd_med.reporting.overlay import overlay_chart


def corners(chart: str) -> list[tuple[float, float]]:
    points = re.search(r'<polyline points="([^"]*)"', chart)[1]
    return [tuple(float(n) for n in pair.split(",")) for pair in points.split()]


def test_a_falling_curve_falls_on_the_page():
    line = corners(line_chart("Loss", [(0, 3.0), (50, 2.0), (100, 1.0)]))
    assert [x for x, _ in line] == sorted(x for x, _ in line)
    assert line[0][1] < line[1][1] < line[2][1]
    assert line[1][1] - line[0][1] == pytest.approx(line[2][1] - line[1][1], abs=0.11)


def test_values_of_many_sizes_get_a_logarithmic_axis():
    chart = line_chart("Loss", [(0, 1000.0), (50, 100.0), (100, 10.0)])
    line = corners(chart)
    assert "log scale" in chart
    assert line[1][1] - line[0][1] == pytest.approx(line[2][1] - line[1][1], abs=0.11)
    assert "log scale" not in line_chart("Loss", [(0, 1000.0), (100, 10.0)], from_zero=True)
    assert "log scale" not in line_chart("Loss", [(0, 1000.0), (100, -10.0)])


def test_values_that_are_not_finite_are_left_out():
    assert len(corners(line_chart("Loss", [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0), (4, 1e308)]))) == 2
    assert "Nothing finite was logged." in line_chart("Loss", [(0, math.nan)])
    assert "Nothing finite was logged." in line_chart("Loss", [])


@pytest.mark.parametrize("points", [[(0, 0.0)], [(5, 1.0)], [(0, -2.0), (9, -2.0)], [(1, 1e-12), (2, 1e12)]])
def test_extreme_series_are_drawn_within_the_picture(points):
    chart = line_chart("Loss", points)
    assert "nan" not in chart
    for y in re.findall(r'cy="([^"]*)"', chart):
        assert 0 <= float(y) <= 180


def test_labels_tell_close_values_apart():
    chart = line_chart("Loss", [(0, 366.51), (100, 366.58)])
    labels = re.findall(r'text-anchor="end">([\d.]+)</text>', chart)
    assert len(set(labels)) == len(labels) >= 3


def test_long_logs_are_thinned():
    line = corners(line_chart("Loss", [(i, float(i % 7) + 1) for i in range(10_000)]))
    assert 100 < len(line) <= 300


def test_the_mark_is_drawn_and_said():
    chart = line_chart("Distance", [(0, 3.0), (50, 1.0), (100, 2.0)], mark=(50, 1.0), mark_name="chosen")
    assert 'class="ring"' in chart
    assert ">chosen</text>" in chart
    assert 'aria-label="Distance: from 3.00 at 0 images to 2.00 at 100 images; chosen: 1.00 at 50 images"' in chart


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (0.05, 0.32, False, [0.05, 0.1, 0.15, 0.2, 0.25, 0.3]),
        (-14, 120, False, [0, 50, 100]),
        (0.8, 90, True, [1, 2, 5, 10, 20, 50]),
        (0.8, 900, True, [1, 3, 10, 30, 100, 300]),
        (60, 900, True, [100, 200, 500]),
        (1e-6, 1e6, True, None),
    ],
)
def test_ticks_are_round_few_and_inside(low, high, log, ticks):
    found = Axis(low, high, 0, 100, log).ticks(6)
    assert 2 <= len(found) <= 6
    assert all(low <= tick <= high for tick in found)
    if ticks is not None:
        assert found == ticks


def test_several_runs_share_their_axes_and_a_part_of_them_has_its_own():
    runs = {"one": [(0, 4.0), (50, 3.0), (100, 2.0)], "<two>": [(0, 8.0), (200, 6.0)], "three": [(0, math.nan)]}
    chart = overlay_chart("Loss", runs)
    first, second = (corners(f'<polyline points="{found}"') for found in re.findall(r'points="([^"]*)"', chart))
    assert first[2][0] == pytest.approx((first[0][0] + second[1][0]) / 2, abs=0.11)  # 100 of 200 images
    assert first[2][1] > first[0][1] > second[1][1] > second[0][1]  # 2 < 4 < 6 < 8, and up is up
    assert re.findall(r"</span>([^<]*)</li>", chart) == ["one 2.00", "&lt;two&gt; 6.00"]
    assert 'class="run0"' in chart
    assert 'class="run1"' in chart
    part = overlay_chart("Loss", runs, (0.0, 0.5))
    (left,) = re.findall(r'points="([^"]*)"', part)
    assert corners(f'<polyline points="{left}"')[2][0] == second[1][0]  # image 100 is now at the right end
    assert "8.00" in part
    for nothing in (overlay_chart("Loss", runs, (0.6, 0.9)), overlay_chart("Loss", {"three": runs["three"]})):
        assert "Nothing finite was logged here." in nothing
