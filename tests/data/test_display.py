"""How slices are turned for the eye, against nibabel's reorientation and against where the voxels lie."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from rsd_med.data.display import is_trusted, turn, volume_planes
from rsd_med.data.orientation import displayed
from rsd_med.data.scan import Geometry

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


def rotation(generator: np.random.Generator, most: float) -> np.ndarray:
    """Rotate by at most some degrees about a random axis (Rodrigues)."""
    x, y, z = axis = generator.normal(size=3)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / np.linalg.norm(axis)
    angle = np.deg2rad(generator.uniform(0, most))
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def obliques(most: float) -> list[np.ndarray]:
    """Every signed grid, leaning by up to some degrees."""
    generator = np.random.default_rng(7)
    affines = []
    for codes in SIGNED:
        for _ in range(5):
            affine = affine_of(codes)
            affine[:3, :3] = rotation(generator, most) @ affine[:3, :3]
            affines.append(affine)
    return affines


@pytest.mark.parametrize(
    "affines", [[affine_of(codes) for codes in SIGNED], obliques(180)], ids=["straight", "oblique"]
)
def test_every_grid_is_shown_as_radiologists_hang_it(affines):
    stored = np.arange(5 * 6 * 7).reshape(5, 6, 7)  # (x, y, z), every voxel its own number
    for affine in affines:
        # nibabel's answer: towards the patient's left, back and feet.
        turned = apply_orientation(stored, ornt_transform(io_orientation(affine), axcodes2ornt("LPI")))
        hung = {
            "Axial": [turned[:, :, k].T for k in range(turned.shape[2])],
            "Coronal": [turned[:, k].T for k in range(turned.shape[1])],
            "Sagittal": [turned[k].T for k in range(turned.shape[0])],
        }
        volume = stored.transpose(2, 1, 0)
        assert {plane.name for plane in volume_planes(affine)} == set(hung)
        for plane in volume_planes(affine):
            shown = [turn(volume.take(k, axis=plane.axis), plane) for k in range(volume.shape[plane.axis])]
            wanted = {np.ascontiguousarray(picture).tobytes() for picture in hung[plane.name]}
            assert {picture.tobytes() for picture in shown} == wanted


@pytest.mark.parametrize("affine", [*(affine_of(codes) for codes in SIGNED[:3]), *obliques(60)[::7]])
def test_letters_say_where_the_voxels_at_the_edges_lie(affine):
    shape = np.array([5, 6, 7])
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    places = nib.affines.apply_affine(affine, indices).transpose(2, 1, 0, 3)  # (z, y, x), millimetres
    for plane in volume_planes(affine):
        shown = turn(places.take(0, axis=plane.axis), plane)
        edges = (("right", "left", shown[0, -1] - shown[0, 0]), ("bottom", "top", shown[-1, 0] - shown[0, 0]))
        for edge, opposite, way in edges:
            cosines = way / np.linalg.norm(way)
            by_size = [i for i in np.argsort(-np.abs(cosines)) if abs(cosines[i]) > 0.26]
            assert plane.letters[edge] == "".join(("RAS" if cosines[i] > 0 else "LPI")[i] for i in by_size)
            assert plane.letters[opposite] == plane.letters[edge].translate(str.maketrans("RLAPSI", "LRPAIS"))


@pytest.mark.parametrize("affine", [*(affine_of(codes) for codes in SIGNED[::5]), *obliques(180)[::9]])
def test_a_file_and_the_viewer_show_a_slice_the_same_way(affine):
    slices = np.random.default_rng(0).random((4, 6, 5))  # (z, y, x)
    plane = volume_planes(affine)[0]
    shown = displayed(slices[0], Geometry(affine[:, [1, 0, 2, 3]]))  # of (y, x, slice)
    assert np.array_equal(shown.image, turn(slices[0], plane))
    assert shown.letters == plane.letters


def test_a_leaning_grid_says_so_with_a_second_letter():
    angle = np.deg2rad(25)
    affine = np.diag([1.0, 1, 1, 1])
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert volume_planes(affine)[0].letters == {"left": "R", "right": "L", "top": "AS", "bottom": "PI"}
    affine[1:3, 1:3] = np.eye(2)
    assert volume_planes(affine)[0].letters == {"left": "R", "right": "L", "top": "A", "bottom": "P"}


NAN = np.eye(4)
NAN[0, 3] = np.nan
FLAT = np.diag([1.0, 1, 0, 1])
SHEARED = np.eye(4)
SHEARED[0, 1] = 3


@pytest.mark.parametrize("affine", [None, NAN, FLAT, SHEARED, np.eye(3), np.zeros((4, 4))])
def test_nothing_is_said_about_a_grid_that_cannot_be_trusted(affine):
    assert not is_trusted(affine)
    for axis, plane in enumerate(volume_planes(affine)):
        assert plane.letters is None
        assert plane.axis == axis
        assert plane.name == ""
        picture = np.arange(6).reshape(2, 3)
        assert np.array_equal(turn(picture, plane), picture)
