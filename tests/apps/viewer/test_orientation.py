"""Display orientation against nibabel's, and letters only where they are earned."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from apps.inspector.viewer.orientation import is_trusted, planes
from apps.inspector.viewer.rendering import turn

SIGNED = [
    "".join(letter[choice] for letter, choice in zip(order, signs, strict=True))
    for order in itertools.permutations(("RL", "AP", "SI"))
    for signs in itertools.product((0, 1), repeat=3)
]


def affine_of(codes: str, zooms=(1.1, 0.7, 3.0)) -> np.ndarray:
    """Affine of a grid whose axes x, y, z run towards the given letters."""
    affine = np.eye(4)
    affine[:3, :3] = nib.orientations.inv_ornt_aff(axcodes2ornt(codes), (5, 6, 7))[:3, :3].T * np.array(zooms)
    assert nib.aff2axcodes(affine) == tuple(codes)
    return affine


@pytest.mark.parametrize("codes", SIGNED)
def test_every_grid_is_shown_as_radiologists_hang_it(codes):
    affine = affine_of(codes)
    stored = np.arange(5 * 6 * 7).reshape(5, 6, 7)  # (x, y, z), every voxel its own number
    # nibabel's answer: towards the patient's left, back and feet.
    turned = apply_orientation(stored, ornt_transform(io_orientation(affine), axcodes2ornt("LPI")))
    hung = {
        "Axial": ([turned[:, :, k].T for k in range(turned.shape[2])], "RLAP"),
        "Coronal": ([turned[:, k].T for k in range(turned.shape[1])], "RLSI"),
        "Sagittal": ([turned[k].T for k in range(turned.shape[0])], "APSI"),
    }
    volume = stored.transpose(2, 1, 0)
    assert {plane.name for plane in planes(affine)} == set(hung)
    for plane in planes(affine):
        wanted, edges = hung[plane.name]
        shown = [turn(volume.take(k, axis=plane.axis), plane) for k in range(volume.shape[plane.axis])]
        assert {picture.tobytes() for picture in shown} == {np.ascontiguousarray(p).tobytes() for p in wanted}
        assert plane.letters is not None
        assert "".join(plane.letters[edge] for edge in ("left", "right", "top", "bottom")) == edges


def test_a_leaning_grid_says_so_with_a_second_letter():
    angle = np.deg2rad(25)
    affine = np.diag([1.0, 1, 1, 1])
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert planes(affine)[0].letters == {"left": "R", "right": "L", "top": "AS", "bottom": "PI"}
    affine[1:3, 1:3] = np.eye(2)
    assert planes(affine)[0].letters == {"left": "R", "right": "L", "top": "A", "bottom": "P"}


NAN = np.eye(4)
NAN[0, 3] = np.nan
FLAT = np.diag([1.0, 1, 0, 1])
SHEARED = np.eye(4)
SHEARED[0, 1] = 3


@pytest.mark.parametrize("affine", [None, NAN, FLAT, SHEARED, np.eye(3), np.zeros((4, 4))])
def test_nothing_is_said_about_a_grid_that_cannot_be_trusted(affine):
    assert not is_trusted(affine)
    for axis, plane in enumerate(planes(affine)):
        assert plane.letters is None
        assert plane.axis == axis
        assert plane.name in ("Slices", "Rows", "Columns")
        picture = np.arange(6).reshape(2, 3)
        assert np.array_equal(turn(picture, plane), picture)
