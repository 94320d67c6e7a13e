"""From the scanner to the picture without a flip: raw data, image, NIfTI, back, PNG."""

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from rsd_med.data.nifti import NiftiSettings
from rsd_med.data.opening import open_scan
from rsd_med.data.orientation import displayed, stack_geometry
from rsd_med.data.scan import Geometry
from rsd_med.data.writing.nifti import NiftiWriter, write_nifti
from rsd_med.data.writing.png import write_png
from rsd_med.operators.fourier import fft2c, ifft2c

from .ismrmrd_files import lines_of, write, xml

# How a scanner may lie its readout and its phase encoding in an axial slice: directions in LPS+.
AXIAL = [((0, 1, 0), (1, 0, 0)), ((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, 1, 0)), ((0, -1, 0), (-1, 0, 0))]


def head(points: np.ndarray) -> np.ndarray:
    """An asymmetric phantom as a function of place, millimetres RAS+: bright to the right and in front."""
    x, y, _ = np.moveaxis(points, -1, 0)
    skull = (x / 26) ** 2 + (y / 34) ** 2 < 1
    marker = (x - 12) ** 2 + (y - 15) ** 2 < 49  # the patient's right, in front
    second = (x + 10) ** 2 + (y + 18) ** 2 < 16  # left, behind
    return (0.3 * skull + 0.7 * marker + 0.4 * second).astype(np.float32)


@pytest.mark.parametrize(("down", "across"), AXIAL)
def test_a_scan_comes_out_upright_however_it_was_encoded(tmp_path, down, across):
    rows, columns, slices = 32, 24, 2
    lps = np.array([-1.0, -1.0, 1.0])
    centre = np.array([3.0, -2.0, 5.0])  # LPS+
    lines = []
    for number in range(slices):
        position = centre + np.array([0, 0, 4.0 * number])
        steps = np.stack(np.meshgrid(np.arange(rows) - rows // 2, np.arange(columns) - columns // 2, indexing="ij"), -1)
        place = position + steps[..., :1] * 2.0 * np.array(down) + steps[..., 1:] * 3.0 * np.array(across)
        kspace = fft2c(torch.from_numpy(head(place * lps)).to(torch.complex64))
        lines += lines_of(
            kspace[None].numpy(),
            slice=number,
            position=tuple(position),
            read_dir=down,
            phase_dir=across,
            slice_dir=(0, 0, 1),
        )
    source = open_scan(write(tmp_path / "scan.h5", xml((rows, columns)), lines))

    # raw -> image -> NIfTI
    with NiftiWriter(tmp_path / "out.nii.gz") as file:
        for scan in source:
            file.add(ifft2c(scan.kspace).abs()[0], scan.geometry)
    # an independent reader agrees on where everything lies
    image = nibabel.load(tmp_path / "out.nii.gz")
    voxels = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), -1)
    truth = head(nibabel.affines.apply_affine(image.affine, voxels))
    assert np.allclose(np.asarray(image.dataobj), truth, atol=1e-4)

    # NIfTI -> PNG
    again = open_scan(tmp_path / "out.nii.gz")
    assert stack_geometry([picture.geometry for picture in again]).affine is not None
    write_png(tmp_path / "out.png", again[1].image[0], (-1.0, 1.0), again[1].geometry)
    with Image.open(tmp_path / "out.png") as picture:
        pixels = np.asarray(picture)
    height, width = pixels.shape
    bright = np.argwhere(pixels > 240).mean(0)
    assert bright[0] < 0.45 * height  # the front at the top
    assert bright[1] < 0.45 * width  # the patient's right on the viewer's left
    assert "".join((displayed(pixels, again[1].geometry).letters or {}).values()) == "RLAP"


def test_lps_and_ras_versions_of_a_head_come_out_the_same(shared_data, tmp_path):
    pictures = []
    for name in ("orient_LPS", "orient_RAS"):
        source = open_scan(shared_data / "nifti_dicom" / f"{name}.nii.gz")
        volume = torch.stack([picture.image[0] for picture in source])
        write_nifti(tmp_path / f"{name}.nii", volume, stack_geometry([picture.geometry for picture in source]))
        again = open_scan(tmp_path / f"{name}.nii")
        middle = again[len(again) // 2]
        write_png(tmp_path / f"{name}.png", middle.image[0], (-1.0, 1.0), middle.geometry)
        with Image.open(tmp_path / f"{name}.png") as picture:
            pictures.append(np.asarray(picture))
        first = nibabel.load(shared_data / "nifti_dicom" / f"{name}.nii.gz")
        second = nibabel.load(tmp_path / f"{name}.nii")
        assert np.allclose(first.affine, second.affine, atol=1e-4)
        assert first.shape == second.shape
    assert pictures[0].std() > 10
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cut_across_any_axis_the_affine_leads_back(tmp_path, axis):
    data = np.random.default_rng(0).random((7, 6, 5)).astype(np.float32)
    affine = np.array([[-1.5, 0.1, 0.0, 90], [0.2, 1.4, 0.3, -60], [0.0, -0.4, 3.0, 12], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "in.nii")
    source = NiftiSettings(root=str(tmp_path / "in.nii"), axis=axis, percentiles=(0, 100)).build()
    with NiftiWriter(tmp_path / "out.nii") as file:
        for picture in source:
            file.add(picture.image[0], picture.geometry)
    first, second = (nibabel.as_closest_canonical(nibabel.load(tmp_path / f"{name}.nii")) for name in ("in", "out"))
    assert np.allclose(first.affine, second.affine, atol=1e-4)
    expected = (first.get_fdata() - data.min()) / (data.max() - data.min()) * 2 - 1
    assert np.allclose(second.get_fdata(), expected, atol=1e-5)


def test_what_is_unknown_stays_as_it_was(tmp_path):
    data = np.random.default_rng(0).random((2, 6, 5)).astype(np.float32)
    write_nifti(tmp_path / "out.nii", data)
    again = open_scan(tmp_path / "out.nii")
    assert again[1].geometry == Geometry()
    low, high = np.percentile(data, (0, 99.5))
    assert np.allclose(again[1].image[0], np.clip((data[1] - low) / (high - low), 0, 1) * 2 - 1, atol=1e-5)


@pytest.mark.parametrize(
    ("places", "step"),
    [((0, 4, 8), 4), ((0, 4.00001, 7.99999), 4), ((8, 0, 4), 4), ((0, 4, 12), None), ((0, 4, 8, 60), None)],
)
def test_slices_of_raw_data_that_are_not_even_have_no_distance(tmp_path, caplog, places, step):
    kspace = np.ones((2, 16, 12), np.complex64)
    directions = {"read_dir": (1, 0, 0), "phase_dir": (0, 1, 0), "slice_dir": (0, 0, 1)}
    lines = [
        one
        for number, height in enumerate(places)
        for one in lines_of(kspace, slice=number, position=(0, 0, height), **directions)
    ]
    source = open_scan(write(tmp_path / "a.h5", xml(), lines))
    spacings = [scan.geometry.spacing_mm for scan in source]
    assert spacings == [pytest.approx((2, 3) if step is None else (2, 3, step), rel=1e-4)] * len(places)
    heights = [scan.geometry.affine[2, 3] for scan in source]
    assert heights == pytest.approx(sorted(places))
    assert ("do not lie at equal distances" in caplog.text) == (step is None)
