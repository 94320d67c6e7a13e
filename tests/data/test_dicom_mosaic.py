"""Siemens' mosaics, against nibabel's reader of them."""

import gzip
import struct
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from rsd_med.base.errors import DataError
from rsd_med.data.dicom import DicomSettings

from .dicom_files import image, save

LPS_TO_RAS = np.diag([-1, -1, 1, 1])
MOSAIC = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]


def build(path, **settings):
    return DicomSettings(root=str(path), percentiles=(0, 100), **settings).build()


def nibabel_reads(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls its reader experimental
        from nibabel.nicom import dicomwrappers

        return dicomwrappers.wrapper_from_file(path)


def private_header(slices, normal):
    """Siemens' private header of an image in its second form, with the three entries that a mosaic needs."""
    tags = {"NumberOfImagesInMosaic": [str(slices)], "SliceNormalVector": [f"{v:.8f}" for v in normal]}
    text = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags) + 1, 77)
    for name, values in (tags | {"AcquisitionMatrixText": ["6*5"]}).items():
        kind = {"N": b"US", "S": b"FD", "A": b"SH"}[name[0]]
        text += struct.pack("<64si4s3i", name.encode(), len(values), kind, 0, len(values), 77)
        for value in values:
            word = value.encode() + b"\0"
            text += struct.pack("<4i", 0, len(word), 77, 0) + word + bytes(-len(word) % 4)
    return text


def mosaic(slices, turn, up=1, instance=1, **fields):
    """A mosaic of slices of 6 x 5 pixels of different levels."""
    axes = turn.as_matrix()
    side = int(np.ceil(np.sqrt(slices)))
    values = np.zeros((6 * side, 5 * side), np.uint16)
    for number in range(slices):
        down, across = divmod(number, side)
        tile = 100 * (number + 1) + np.random.default_rng(number).integers(0, 50, (6, 5))
        values[6 * down : 6 * down + 6, 5 * across : 5 * across + 5] = tile + 1000 * instance
    orientation = [f"{v:.10f}" for v in (*axes[:, 0], *axes[:, 1])]
    file = image(values, (10.0, -20.0, 30.0), instance, ImageOrientationPatient=orientation, **fields)
    file.ImageType, file.SpacingBetweenSlices, file.Manufacturer = MOSAIC, 3.3, "SIEMENS"
    file.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(
        0x10, "OB", private_header(slices, up * axes[:, 2])
    )
    return file


def assert_is_what_nibabel_reads(source, path, items):
    oracle = nibabel_reads(path)
    volume, affine = oracle.get_data(), LPS_TO_RAS @ oracle.affine
    low, high = float(volume.min()), float(volume.max())
    assert len(items) == volume.shape[2]
    for number in items:
        picture = source[number]
        at = picture.geometry.affine
        cut = int(np.rint(np.linalg.solve(affine, at[:, 3]))[2])  # the oracle counts along the header's normal
        assert np.allclose(at[:, :2], affine[:, :2], atol=1e-6)
        assert np.allclose(at[:, 3], affine @ [0, 0, cut, 1], atol=1e-4)
        assert np.allclose(picture.image[0], (volume[:, :, cut] - low) / (high - low) * 2 - 1, atol=1e-5)
        assert picture.geometry.spacing_mm == pytest.approx(np.linalg.norm(affine[:3, :3], axis=0), rel=1e-4)


@pytest.mark.parametrize("slices", [2, 4, 5, 9, 15])
@pytest.mark.parametrize("up", [1, -1])
def test_slices_lie_where_nibabel_puts_them(tmp_path, slices, up):
    turn = Rotation.from_rotvec([0.2, -0.1, 0.3])
    path = save(tmp_path / "a", mosaic(slices, turn, up))
    source = build(path)
    assert source.shape(0) == (1, 6, 5)
    assert_is_what_nibabel_reads(source, path, range(slices))


@pytest.mark.parametrize("name", ["siemens_dwi_0", "siemens_dwi_1000"])
def test_real_mosaics(tmp_path, name):
    packed = Path(nibabel.__file__).parent / "nicom" / "tests" / "data" / f"{name}.dcm.gz"
    if not packed.is_file():
        pytest.skip("This nibabel comes without its test data.")
    path = tmp_path / "a"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = pydicom.dcmread(path)
        file.PixelData = np.random.default_rng(0).integers(1, 4000, (file.Rows, file.Columns)).astype("<u2").tobytes()
        file.save_as(path)  # its pixels were blanked
    source = build(path)
    assert len(source) == 48
    assert source.shape(0) == (1, 128, 128)
    assert_is_what_nibabel_reads(source, path, range(48))


def test_each_file_is_a_volume(tmp_path):
    for time in range(3):
        save(tmp_path / f"{time}", mosaic(5, Rotation.identity(), instance=time + 1, AcquisitionNumber=1))
    source = build(tmp_path)
    assert source.stacks() == (range(5), range(5, 10), range(10, 15))
    assert_is_what_nibabel_reads(source, tmp_path / "1", range(5, 10))


def test_without_a_normal_the_slices_are_cut_and_their_place_is_unknown(tmp_path):
    file = mosaic(5, Rotation.identity())
    del file[0x0029, 0x0010], file[0x0029, 0x1010]
    file.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 5)
    source = build(save(tmp_path / "a", file))
    assert len(source) == 5
    assert all(picture.geometry.affine is None for picture in source)
    means = [float(picture.image.mean()) for picture in source]
    assert means == sorted(means)


@pytest.mark.parametrize("private", [None, b"", b"SV10\4\3\2\1" + b"\xff" * 80, private_header(0, [0, 0, 1])])
def test_what_does_not_say_how_to_cut_it_is_no_picture(tmp_path, caplog, private):
    file = mosaic(5, Rotation.identity())
    if private is None:
        del file[0x0029, 0x1010]
    else:
        file[0x0029, 0x1010].value = private
    save(tmp_path / "a", file)
    with pytest.raises(DataError, match="is a mosaic"):
        build(tmp_path)
    save(tmp_path / "b", image(np.arange(30, dtype=np.uint16).reshape(6, 5)))
    assert len(build(tmp_path)) == 1
    assert "is a mosaic" in caplog.text
