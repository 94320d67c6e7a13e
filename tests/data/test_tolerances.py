"""Floats of headers are compared with a tolerance, never by rounding."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from rsd_med.data.dicom_file import Frame
from rsd_med.data.dicom_pixels import StoredPixels
from rsd_med.data.dicom_volumes import split_series, split_volumes
from rsd_med.data.orientation import stack_geometry
from rsd_med.data.scan import Geometry
from rsd_med.data.tolerances import even_step, group_numbers, group_vectors, same_length

NOWHERE = StoredPixels(Path("nowhere"), 1, (0, 0), "", 0, {})
FRAME = Frame(
    pixels=NOWHERE,
    index=0,
    tile=None,
    shape=(6, 5),
    position=(0, 0, 0),
    orientation=(1, 0, 0, 0, 1, 0),
    spacing=(1, 1),
    thickness=3,
    slope=1,
    intercept=0,
    instance=0,
    image_type=("M",),
    echo_time=2.46,
    stack="",
    b_value=None,
    gradient=None,
    time=None,
    acquisition=None,
    trigger=None,
)


def series(draw, jitter, slices, turn, spacing, repeats, first=0):
    """Slices of an oblique volume, seen ``repeats`` times; everything that is a float is off by up to ``jitter``."""

    def off(values):
        values = np.asarray(values, float)
        return values + jitter * draw.uniform(-1, 1, values.shape)

    axes = turn.as_matrix()
    corner = draw.uniform(-200, 200, 3)
    return [
        replace(
            FRAME,
            index=first + time * slices + cut,
            position=tuple(off(corner + 3 * cut * axes[:, 2])),
            orientation=tuple(off([*axes[:, 0], *axes[:, 1]])),
            spacing=tuple(off([spacing, spacing])),
            echo_time=float(off(2.46)),
        )
        for time in range(repeats)
        for cut in range(slices)
    ]


def test_jitter_neither_splits_nor_merges_a_thousand_oblique_series():
    draw = np.random.default_rng(0)
    wrong = []
    for number in range(1000):
        jitter = 10 ** draw.uniform(-8, -3)
        spacing, slices = draw.uniform(0.4, 2), int(draw.integers(4, 9))
        turn = Rotation.from_rotvec(np.radians(draw.uniform(-20, 20, 3)))
        tilted = Rotation.from_rotvec(np.radians(2) * draw.choice([-1, 1]) * turn.as_matrix()[:, 0]) * turn
        frames = series(draw, jitter, slices, turn, spacing, repeats=2)
        others = [
            *series(draw, jitter, slices, tilted, spacing, repeats=1, first=100),
            *series(draw, jitter, slices, turn, 1.03 * spacing, repeats=1, first=200),
        ]
        shuffled = [(frames + others)[place] for place in draw.permutation(4 * slices)]
        parts = [sorted(frame.index for frame in part) for part in split_series(shuffled)]
        expected = [list(range(2 * slices)), *([*range(first, first + slices)] for first in (100, 200))]
        stacks = split_volumes(frames, "")
        volumes = [[frame.index for frame in stack.frames] for stack in stacks]
        whole = volumes == [list(range(slices)), list(range(slices, 2 * slices))]
        even = all(stack.step is not None and abs(np.linalg.norm(stack.step) - 3) < 0.01 for stack in stacks)
        geometry = stack_geometry([stacks[0].geometry(cut) for cut in range(slices)])
        if sorted(parts) != expected or not whole or not even or geometry.affine is None:
            wrong.append((number, jitter))
    assert not wrong


@pytest.mark.parametrize("edge", [0.005, 0.0215, 1.2345])
def test_numbers_on_both_sides_of_an_edge_of_rounding_are_equal(edge):
    values = edge + np.array([1e-7, -1e-7, 1e-4, -1e-4, 1.0])
    assert group_numbers(values, 1e-3).tolist() == [0, 0, 0, 0, 1]
    assert group_vectors(values[:, None], 1e-3).tolist() == [0, 0, 0, 0, 1]


def test_nothing_is_one_group_of_none():
    assert group_numbers(np.array([]), 1).tolist() == []
    assert group_vectors(np.empty((0, 3)), 1).tolist() == []


def test_lengths_are_compared_by_their_share():
    assert same_length(0.9375, 0.94)
    assert same_length(1e-3, 1.000001e-3)
    assert not same_length(1e-3, 1.1e-3)


def test_a_way_is_known_where_all_are_the_same():
    line = np.arange(5)[:, None] * np.array([0.1, 0.2, 3.0])
    assert np.allclose(even_step(line), [0.1, 0.2, 3.0])
    assert np.allclose(even_step(line + 1e-3), [0.1, 0.2, 3.0])
    assert even_step(line[[0, 1, 3, 4]]) is None
    assert even_step(np.zeros((3, 3))) is None
    assert even_step(line + np.array([[0, 0, 0], [2, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])) is None


def test_slices_whose_pixel_sizes_differ_by_rounding_are_one_volume():
    def at(height, size):
        return Geometry(np.array([[size, 0, 0, 0], [0, size, 0, 0], [0, 0, 3, height], [0, 0, 0, 1]]), (size, size, 3))

    assert stack_geometry([at(0, 0.9375), at(3, 0.93750003)]).spacing_mm == pytest.approx((0.9375, 0.9375, 3))
    assert stack_geometry([at(0, 0.9375), at(3, 1.2)]) == Geometry(None, None)
