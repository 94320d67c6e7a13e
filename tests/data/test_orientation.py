"""Where slices lie, and which way up they are looked at."""

import nibabel
import numpy as np
import pytest

from rsd_med.data.orientation import Displayed, centred_affine, displayed, slice_affine, stack_geometry
from rsd_med.data.scan import UNKNOWN, Geometry

SHAPE = (6, 5, 4)


def edges(shown: Displayed) -> str:
    """The letters at the left, right, top and bottom."""
    return "".join((shown.letters or {})[edge] for edge in ("left", "right", "top", "bottom"))


def marked(affine: np.ndarray) -> tuple[np.ndarray, Geometry]:
    """A slice whose pixels say where in the patient they lie: (y, x, 3) millimetres, RAS+."""
    rows, columns = np.indices(SHAPE[:2])
    index = np.stack([rows, columns, np.zeros_like(rows), np.ones_like(rows)], -1)
    return (index @ affine.T)[..., :3], Geometry(affine, tuple(np.linalg.norm(affine[:3, :3], axis=0)))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_every_way_to_store_a_plane_is_shown_the_radiological_way(plane, order, signs):
    axes = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}[plane]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, axis in enumerate((*(axes[one] for one in order), axes[2])):
        affine[axis, column] = (*signs, 1)[column] * (1.0 + column)
    affine[:3, 3] = (-7, 11, 3)
    image, geometry = marked(affine)
    shown = displayed(image, geometry)
    horizontal, vertical = axes[0], axes[1]
    # The patient's coordinates fall to the right and downwards: left, back and feet lie there.
    assert (np.diff(shown.image[:, :, horizontal], axis=1) < 0).all()
    assert (np.diff(shown.image[:, :, vertical], axis=0) < 0).all()
    assert edges(shown) == {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}[plane]
    # The new affine still says where each pixel lies.
    again, _ = marked(shown.geometry.affine)
    rows, columns = shown.image.shape[:2]
    far = shown.geometry.affine @ [rows - 1, columns - 1, 0, 1]
    assert np.allclose(again[0, 0], shown.image[0, 0])
    assert np.allclose(far[:3], shown.image[-1, -1])
    assert np.allclose(shown.geometry.spacing_mm, np.linalg.norm(shown.geometry.affine[:3, :3], axis=0))


def test_unknown_orientation_is_left_alone_and_gets_no_letters():
    image = np.arange(6).reshape(2, 3)
    shown = displayed(image, Geometry(None, (2.0, 1.0)))
    assert np.array_equal(shown.image, image)
    assert shown.letters is None
    assert shown.geometry.spacing_mm == (2.0, 1.0)


def test_oblique_slices_are_turned_and_say_where_they_lean():
    angle = np.deg2rad(40)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    shown = displayed(np.zeros((3, 3)), Geometry(affine))
    assert shown.letters == {"left": "RA", "right": "LP", "top": "AL", "bottom": "PR"}
    assert shown.geometry.affine is not None


def test_dicom_directions_become_ras():
    # An axial slice, head first, supine: rows run to the patient's left, columns to the back.
    affine = slice_affine([-100, -120, 30], [0, 1, 0], [1, 0, 0], (0.5, 0.8), 3.0)
    assert np.allclose(affine @ [0, 0, 0, 1], [100, 120, 30, 1])
    assert np.allclose(affine @ [2, 0, 0, 1], [100, 119, 30, 1])  # down: to the back
    assert np.allclose(affine @ [0, 1, 0, 1], [99.2, 120, 30, 1])  # across: to the left
    assert np.allclose(affine @ [0, 0, 1, 1], [100, 120, 33, 1])


@pytest.mark.parametrize(("shape", "centre"), [((4, 6), (2, 3)), ((5, 7), (2, 3))])
def test_the_centre_of_the_transform_lies_at_the_position(shape, centre):
    affine = centred_affine([1, 2, 3], [0, 1, 0], [1, 0, 0], shape, (2.0, 3.0), 5.0)
    assert np.allclose(affine @ [*centre, 0, 1], [-1, -2, 3, 1])


@pytest.mark.parametrize(
    ("down", "across"),
    [([0, 0, 0], [1, 0, 0]), ([0, 1, 0], [0, 1, 0]), ([0, np.nan, 0], [1, 0, 0]), ([0, 1, 0], [3, 0, 0])],
)
def test_directions_that_are_none_mean_unknown(down, across):
    assert slice_affine([0, 0, 0], down, across, (1.0, 1.0), 1.0) is None
    assert centred_affine([0, 0, 0], down, across, (4, 4), (1.0, 1.0), 1.0) is None


def slices(positions):
    result = []
    for position in positions:
        affine = np.diag([1.0, 2.0, 9.0, 1.0])
        affine[2, 3] = position
        result.append(Geometry(affine, (1.0, 2.0)))
    return result


def test_a_stack_takes_its_step_from_its_slices():
    volume = stack_geometry(slices([5, 3, 1, -1]))
    assert np.allclose(volume.affine @ [0, 0, 3, 1], [0, 0, -1, 1])
    assert volume.spacing_mm == (1.0, 2.0, 2.0)
    assert stack_geometry(slices([4])).affine[2, 2] == 9


@pytest.mark.parametrize("positions", [[0, 1, 3], [2, 2, 2], [0, 2, 1]])
def test_slices_that_form_no_grid_have_no_common_affine(positions):
    volume = stack_geometry(slices(positions))
    assert volume.affine is None
    assert volume.spacing_mm == (1.0, 2.0)


def test_one_slice_unknown_makes_the_stack_unknown():
    assert stack_geometry([*slices([0, 1]), UNKNOWN]).affine is None


def test_both_storage_orders_of_a_real_head_look_the_same(shared_data):
    pictures, letters = [], []
    for name in ("orient_LPS", "orient_RAS"):
        image = nibabel.load(shared_data / "nifti_dicom" / f"{name}.nii.gz")
        data = np.asarray(image.dataobj)
        middle = data.shape[2] // 2
        affine = image.affine.copy()
        affine[:3, 3] += middle * affine[:3, 2]
        shown = displayed(data[:, :, middle], Geometry(affine))
        pictures.append(shown.image)
        letters.append(edges(shown))
    assert pictures[0].any()
    assert np.array_equal(pictures[0], pictures[1])
    assert letters[0] == letters[1] == "RLAP"
