"""Motion between shots: contracts, and three oracles: whole pixels, an analytic object, and the sum written out."""

import math

import pytest
import torch
from scipy import ndimage

from rsd_med.operators.fourier import fft2c
from rsd_med.operators.motion import ShotMotion, turned
from tests.operators.contracts import check_operator, random_tensor, relative_error


def motion(items=2, columns=8, shots=3, turns=0.3, dtype=torch.float64, seed=1):
    shift, angle = random_tensor((items, shots, 2), dtype, seed), turns * random_tensor((items, shots), dtype, seed + 1)
    return ShotMotion(torch.arange(columns).expand(items, -1) % shots, 2 * shift, angle)


def blob(centre, rows=40, columns=41, wide=(2.5, 3.0), dtype=torch.float64):
    """A Gaussian with axes along y and x, as far from the borders as double precision asks."""
    y, x = (
        torch.arange(rows, dtype=dtype) - rows // 2 - centre[0],
        torch.arange(columns, dtype=dtype) - columns // 2 - centre[1],
    )
    return torch.exp(-((y[:, None] / wide[0]) ** 2) / 2 - (x / wide[1]) ** 2 / 2)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 5)])
@pytest.mark.parametrize("turns", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.complex128, torch.float64, torch.complex64, torch.float32])
def test_contracts(size, turns, dtype):
    shape = (2, 1, *size)
    check_operator(motion(columns=size[1], turns=turns, dtype=dtype.to_real()), shape, shape, dtype)


def test_colours_move_together():
    operator, images = motion(columns=10), random_tensor((2, 3, 8, 10), torch.float64, 3)
    assert relative_error(operator(images)[:, 1:2], operator(images[:, 1:2])) < 1e-12


@pytest.mark.parametrize("size", [(8, 10), (7, 9)])
def test_one_pose_by_whole_pixels_is_a_roll(size):
    images = random_tensor((2, 1, *size), torch.complex128, 3)
    shift = torch.tensor([[[2.0, -3.0]], [[-1.0, 1.0]]], dtype=torch.float64)
    moved = ShotMotion(torch.zeros(2, size[1], dtype=torch.long), shift, torch.zeros(2, 1, dtype=torch.float64))(images)
    expected = [image.roll(tuple(int(s) for s in one[0]), (-2, -1)) for image, one in zip(images, shift, strict=True)]
    assert relative_error(moved, torch.stack(expected)) < 1e-12


def test_each_shot_measures_the_object_in_its_pose():
    """Column by column, k-space is that of the blob drawn where it lay."""
    places = [(0.0, 0.0), (1.3, -2.7), (-2.2, 0.4)]
    shot = torch.arange(41) % 3
    shift = torch.tensor(places, dtype=torch.float64)[None]
    operator = ShotMotion(shot[None], shift, torch.zeros(1, 3, dtype=torch.float64))
    found = fft2c(operator(blob((0, 0))[None, None].to(torch.complex128)))[0, 0]
    expected = torch.zeros_like(found)
    for number, place in enumerate(places):
        expected[:, shot == number] = fft2c(blob(place).to(torch.complex128))[:, shot == number]
    assert relative_error(found, expected) < 1e-6
    assert relative_error(fft2c(blob(places[1]).to(torch.complex128)), expected) > 0.1


@pytest.mark.parametrize("size", [(40, 40), (41, 39)])
@pytest.mark.parametrize("degrees", [-20, 5, 40])
def test_turning_agrees_with_the_object_and_with_scipy(size, degrees):
    """A blob at (6, 2) turned by a lies where the rotation carries its centre, its axes turned as well."""
    angle = torch.tensor([math.radians(degrees)], dtype=torch.float64)
    rows, columns = size
    image = blob((6, 2), rows, columns, wide=(2.0, 3.0))
    found = turned(image[None, None].to(torch.complex128), angle)[0, 0]
    y = (torch.arange(rows, dtype=torch.float64) - rows // 2)[:, None]
    x = torch.arange(columns, dtype=torch.float64) - columns // 2
    c, s = math.cos(angle), math.sin(angle)
    back_y, back_x = c * y + s * x, -s * y + c * x
    expected = torch.exp(-(((back_y - 6) / 2) ** 2) / 2 - ((back_x - 2) / 3) ** 2 / 2)
    assert (found - expected).abs().max() < 2e-3
    if rows % 2 and columns % 2:  # scipy turns about the middle of the image, which is a pixel for odd sizes alone
        spline = torch.from_numpy(ndimage.rotate(image.numpy(), -degrees, reshape=False, order=5))
        other = torch.from_numpy(ndimage.rotate(image.numpy(), degrees, reshape=False, order=5))
        assert min((found.real - turn).abs().max() for turn in (spline, other)) < 5e-3


def test_turns_are_unitary_and_undone():
    images, angle = (
        random_tensor((3, 1, 9, 12), torch.complex128, 3),
        torch.tensor([0.7, -0.2, 0.0], dtype=torch.float64),
    )
    there = turned(images, angle)
    assert relative_error(there.flatten(1).norm(dim=1), images.flatten(1).norm(dim=1)) < 1e-12
    assert relative_error(turned(there, -angle), images) < 1e-12


def test_motion_without_turns_loses_nothing():
    operator, images = motion(columns=9, turns=0.0), random_tensor((2, 1, 8, 9), torch.complex128, 3)
    assert relative_error(operator.H(operator(images)), images) < 1e-12


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="integers"):
        ShotMotion(torch.zeros(2, 8), torch.zeros(2, 3, 2), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="Shifts"):
        ShotMotion(torch.zeros(2, 8, dtype=torch.long), torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="do not fit"):
        motion(columns=8)(torch.zeros(2, 1, 8, 9))
