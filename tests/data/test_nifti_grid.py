"""Where voxels lie, in headers that contradict themselves or leave things out; nibabel.load is the other opinion."""

import logging

import nibabel
import numpy as np
import pytest

from rsd_med.base.notices import forget_what_was_said
from rsd_med.data.nifti import NiftiSettings
from rsd_med.data.orientation import stack_geometry

from .test_nifti import AFFINE, build, patched, save, volume

ROTATED = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.3, -0.2, 0.1) @ np.diag([1.5, -2.0, 3.0]), [7, 8, 9]
)


def header(tmp_path, affine=ROTATED, **fields):
    return patched(save(tmp_path / "head.nii", volume(4, 5, 3), affine), **fields)


def only_qform(sizes, qfac):
    return {"sform_code": 0, "qform_code": 1, "pixdim": [qfac, *sizes, 1, 1, 1, 1]}


@pytest.fixture(autouse=True)
def _nothing_said_before():
    forget_what_was_said()


@pytest.mark.parametrize(
    "fields",
    [
        only_qform((1.5, 2, 3), 0),
        only_qform((1.5, 2, 3), 1),
        only_qform((1.5, 2, 3), -1),
        only_qform((1.5, 2, 3), 5),
        only_qform((-1.5, 2, 3), 1),
        only_qform((-1.5, -2, -3), 0),
        {"pixdim": [1, 1, 1, 1, 1, 1, 1, 1]},
        {"pixdim": [0, -1, 2, 3, 1, 1, 1, 1]},
        {"qform_code": 2, "quatern_b": 0.9},
    ],
)
def test_the_affine_is_that_of_nibabel_and_the_spacing_follows_it(tmp_path, fields):
    path = header(tmp_path, **fields)
    wanted = nibabel.load(path).affine
    source = build(path)
    for cut in range(3):
        geometry = source[cut].geometry
        assert np.allclose(geometry.affine @ [1, 2, 0, 1], wanted @ [1, 2, cut, 1], atol=1e-4)
        assert np.allclose(geometry.spacing_mm, nibabel.affines.voxel_sizes(wanted), rtol=1e-5)
    # The whole volume, as the app's ruler takes it.
    stacked = stack_geometry([picture.geometry for picture in source])
    assert np.allclose(stacked.affine, wanted, atol=1e-4)
    assert np.allclose(stacked.spacing_mm, nibabel.affines.voxel_sizes(wanted), rtol=1e-4)


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (7, 1), (3 + 8, 0.001)])
@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (0, 0)])
def test_units_are_those_of_the_header(tmp_path, unit, factor, codes):
    path = header(tmp_path, xyzt_units=unit, sform_code=codes[0], qform_code=codes[1])
    geometry = build(path)[1].geometry
    assert np.allclose(geometry.spacing_mm, np.multiply((1.5, 2, 3), factor), rtol=1e-5)
    if any(codes):
        place = factor * (nibabel.load(path).affine @ [1, 2, 1, 1])[:3]
        assert np.allclose((geometry.affine @ [1, 2, 0, 1])[:3], place, rtol=1e-5)
    else:
        assert geometry.affine is None


def test_an_sform_that_is_none_leaves_the_word_to_the_qform(tmp_path):
    path = header(tmp_path, srow_x=[0, 0, 0, 0], sform_code=1, qform_code=1)
    assert np.allclose(build(path)[0].geometry.affine @ [1, 2, 0, 1], ROTATED @ [1, 2, 0, 1], atol=1e-4)


def test_a_qform_that_is_none_is_no_error(tmp_path):
    path = header(tmp_path, sform_code=0, qform_code=1, quatern_b=2.0)  # longer than a unit quaternion
    geometry = build(path)[0].geometry
    assert geometry.affine is None
    assert geometry.spacing_mm == pytest.approx((1.5, 2, 3))


def test_what_contradicts_the_affine_is_said_once_for_all_files(tmp_path, caplog):
    for name in "abc":
        (tmp_path / name).mkdir()
        header(tmp_path / name, **({} if name == "b" else {"pixdim": [1] * 8}))
    with caplog.at_level(logging.WARNING):
        build(tmp_path)
        build(tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "2 of 3 NIfTI files, the first a/head.nii, state voxel sizes that are not those of their affine; the affine is "
        "taken."
    ]


def test_voxels_as_small_as_a_microscope_sees_have_a_place(tmp_path):
    affine = np.diag([1e-5, 1e-5, 1e-5, 1])
    path = save(tmp_path / "cell.nii", volume(4, 5, 3), affine)
    assert np.allclose(build(path)[0].geometry.affine, affine)


def test_the_given_cases(shared_data):
    folder = shared_data.parent / "cases" / "nifti"
    if not folder.is_dir():
        pytest.skip("the cases are not here")
    spacing = {path.name: NiftiSettings(root=str(path)).build()[0].geometry.spacing_mm for path in folder.iterdir()}
    assert spacing["pixdim_1_sform_2_3_4.nii"] == pytest.approx((2, 3, 4))
    assert spacing["units_micron_sform.nii"] == pytest.approx((2, 3, 4))
    assert spacing.keys() == {path.name for path in folder.iterdir()}


def test_the_usual_header_says_nothing(tmp_path, caplog):
    build(save(tmp_path / "head.nii", volume(4, 5, 3), AFFINE))
    assert not caplog.records


@pytest.mark.parametrize(("unit", "said"), [(1, "2e+03 x 2e+03 x 2e+03"), (2, None), (3, None), (0, None)])
def test_voxels_of_an_unlikely_size_are_said(tmp_path, caplog, unit, said):
    """A header that declares metres while its numbers are millimetres."""
    build(header(tmp_path, np.diag([2.0, 2, 2, 1]), xyzt_units=unit))
    assert (said is None) == ("check their unit" not in caplog.text)
    assert said is None or said in caplog.text
