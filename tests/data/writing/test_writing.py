"""Files that come back as they went: NIfTI, PNG and DICOM."""

import gzip
import tracemalloc

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from rsd_med.base.errors import ProtocolError
from rsd_med.data.orientation import displayed
from rsd_med.data.scan import UNKNOWN, Geometry
from rsd_med.data.windowing import grey_levels
from rsd_med.data.writing import nifti
from rsd_med.data.writing.dicom import write_dicom
from rsd_med.data.writing.nifti import NiftiWriter, write_nifti
from rsd_med.data.writing.png import write_png

# Oblique, left-handed, anisotropic: nothing that a lucky default would get right.
AFFINE = np.array([[0.1, -1.5, 0.3, 90], [1.4, 0.2, 0.0, -60], [0.0, -0.4, 3.0, 12], [0, 0, 0, 1]])
KNOWN = Geometry(AFFINE, tuple(np.linalg.norm(AFFINE[:3, :3], axis=0)))


def volume(*shape, seed=0):
    return np.random.default_rng(seed).gamma(2.0, 100.0, shape).astype(np.float32)


# --- NIfTI ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_a_volume_comes_back_with_its_affine(tmp_path, suffix, dtype):
    data = (volume(4, 6, 5) * (1 + (1j if dtype is np.complex64 else 0))).astype(dtype)
    path = tmp_path / f"out.{suffix}"
    write_nifti(path, torch.from_numpy(data), KNOWN)
    image = nibabel.load(path)
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 0, 1), data)
    assert image.get_data_dtype() == dtype
    assert np.allclose(image.affine, AFFINE, atol=1e-5)
    assert np.allclose(image.header.get_zooms(), KNOWN.spacing_mm, atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
    assert b"not for diagnosis" in image.header["descrip"].tobytes()
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_unknown_geometry_is_said_to_be_unknown(tmp_path):
    write_nifti(tmp_path / "out.nii", volume(2, 3, 4))
    header = nibabel.load(tmp_path / "out.nii").header
    assert int(header["sform_code"]) == int(header["qform_code"]) == 0
    assert header.get_xyzt_units()[0] == "unknown"
    write_nifti(tmp_path / "spaced.nii", volume(2, 3, 4), Geometry(None, (0.5, 0.7)))
    header = nibabel.load(tmp_path / "spaced.nii").header
    assert int(header["sform_code"]) == int(header["qform_code"]) == 0
    assert header.get_xyzt_units()[0] == "mm"
    assert np.allclose(header.get_zooms(), (0.5, 0.7, 1.0))


def test_slices_one_by_one_make_the_same_file_as_the_volume(tmp_path):
    data = volume(5, 6, 4)
    write_nifti(tmp_path / "whole.nii.gz", data, KNOWN)
    with NiftiWriter(tmp_path / "sliced.nii.gz") as file:
        for number, image in enumerate(data):
            affine = AFFINE.copy()
            affine[:3, 3] += number * AFFINE[:3, 2]
            affine[:3, 2] *= 7  # a slice's own idea of its neighbour: the positions decide
            file.add(torch.from_numpy(image), Geometry(affine, KNOWN.spacing_mm[:2]))
    whole, sliced = (gzip.decompress((tmp_path / f"{name}.nii.gz").read_bytes()) for name in ("whole", "sliced"))
    assert np.allclose(nibabel.load(tmp_path / "sliced.nii.gz").affine, AFFINE, atol=1e-5)
    assert whole[352:] == sliced[352:]


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, volume(2, 3, 4), KNOWN)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_failure_leaves_no_file_and_keeps_the_old_one(tmp_path):
    path = tmp_path / "out.nii"
    path.write_bytes(b"old")

    def write():
        with NiftiWriter(path) as file:
            file.add(volume(3, 4))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write()
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_memory_does_not_grow_with_the_slices(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti, "_IN_MEMORY", 1 << 16)
    image = volume(128, 128)
    write_nifti(tmp_path / "warm.nii", image)  # what is imported on the way
    tracemalloc.start()
    with NiftiWriter(tmp_path / "out.nii") as file:
        for _ in range(200):
            file.add(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "out.nii").stat().st_size == 352 + 200 * image.nbytes
    assert peak < 2 << 20  # the file has 13 MB


def test_slices_must_go_together(tmp_path):
    def write(*slices):
        with NiftiWriter(tmp_path / "out.nii") as file:
            for image in slices:
                file.add(image)

    for other in (volume(4, 3), volume(3, 4).astype(np.complex64)):
        with pytest.raises(ValueError, match="those before"):
            write(volume(3, 4), other)
    with pytest.raises(ValueError, match="neither"):
        NiftiWriter(tmp_path / "out.img")
    assert not list(tmp_path.iterdir())


# --- PNG ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
def test_a_picture_is_lossless_and_turned_where_the_orientation_is_known(tmp_path, bits):
    image = volume(40, 30)
    for geometry in (UNKNOWN, KNOWN):
        write_png(tmp_path / "out.png", image, (0.0, 800.0), geometry, bits)
        with Image.open(tmp_path / "out.png") as picture:
            pixels = np.asarray(picture)
            assert "not for diagnosis" in picture.info["Comment"]
            assert picture.info["Orientation"] == ("unknown" if geometry is UNKNOWN else "radiological")
        assert np.array_equal(pixels, displayed(grey_levels(image, (0.0, 800.0), bits), geometry).image)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


# --- DICOM ----------------------------------------------------------------------------------------------------------


def test_a_series_says_what_it_is_and_lies_where_the_volume_lay(tmp_path):
    data = volume(3, 64, 300)
    straight = AFFINE.copy()
    straight[:3, :3] = np.array([[0, -1.5, 0], [-1.4, 0, 0], [0, 0, 3.0]])
    files = write_dicom(tmp_path / "series", data, Geometry(straight), (0.0, 500.0), "test")
    assert [path.name for path in files] == ["0001.dcm", "0002.dcm", "0003.dcm"]
    assert [path.name for path in tmp_path.iterdir()] == ["series"]
    read = [pydicom.dcmread(path) for path in files]
    for number, file in enumerate(read):
        assert file.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert file.ContentQualification == "RESEARCH"
        assert file.BurnedInAnnotation == "NO"
        assert "NOT FOR DIAGNOSIS" in file.ImageComments
        assert file.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
        values = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        turned = displayed(data[number], Geometry(straight)).image
        top = slice(0, 48)  # above the warning
        assert np.allclose(values[top], np.clip(turned, 0, 500)[top], atol=500 / 65535)
        assert set(file.pixel_array[-10:, :250].ravel()) == {0, 65535}  # the warning
        # Pixel (row 0, column 0) lies where the affine puts it.
        assert list(map(float, file.ImageOrientationPatient)) == [1, 0, 0, 0, 1, 0]
        corner = np.array([float(value) for value in file.ImagePositionPatient]) * (-1, -1, 1)
        assert np.allclose(corner, (straight @ [0, 0, number, 1])[:3], atol=1e-4)
        assert list(map(float, file.PixelSpacing)) == [1.4, 1.5]
    assert len({file.SOPInstanceUID for file in read}) == 3
    assert len({file.SeriesInstanceUID for file in read}) == 1
    assert str(read[0].PatientName) == read[0].PatientID == "RESEARCH"


def test_unknown_geometry_is_left_out_of_dicom(tmp_path):
    path = write_dicom(tmp_path / "series", volume(8, 9).astype(np.complex64), UNKNOWN, (0.0, 500.0))[0]
    file = pydicom.dcmread(path)
    assert "ImagePositionPatient" not in file
    assert "PixelSpacing" not in file
    assert file.pixel_array.shape == (8, 9)


def test_a_series_can_be_written_slice_by_slice_and_is_whole_or_absent(tmp_path):
    def slices(count):
        for number in range(count):
            if number == 2:
                raise RuntimeError("half way")
            yield volume(8, 9)

    with pytest.raises(RuntimeError, match="half way"):
        write_dicom(tmp_path / "series", slices(3), UNKNOWN, (0.0, 1.0))
    assert not list(tmp_path.iterdir())
    assert len(write_dicom(tmp_path / "series", slices(2), UNKNOWN, (0.0, 1.0))) == 2
    with pytest.raises(ProtocolError, match="not empty"):
        write_dicom(tmp_path / "series", slices(2), UNKNOWN, (0.0, 1.0))
