"""The DICOM reader: real series, series with one property each, and files that are not what they claim."""

import pickle
import warnings

import numpy as np
import pydicom
import pytest
import torch
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedSRStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

from rsd_med.base.errors import DataError
from rsd_med.data.dicom import DicomSettings
from rsd_med.data.scan import Geometry
from rsd_med.data.writing.dicom import write_dicom

from .dicom_files import SERIES, image, pixels, save


def build(path, **settings):
    return DicomSettings(root=str(path), **settings).build()


# --- real files -----------------------------------------------------------------------------------------------------


def test_real_files_are_grouped_ordered_and_placed(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls its reader experimental
        from nibabel.nicom import dicomwrappers as wrappers

    folder = shared_data / "nifti_dicom"
    source = build(folder)
    ids = [source.id(index) for index in range(len(source))]
    assert ids == [f"series01_slice{n:03d}" for n in range(6)] + [f"series02_slice{n:03d}" for n in range(3)]
    assert source.stacks() == (range(6), range(6, 9))
    for number in (1, 2, 3):
        path = folder / f"mr_t1_series_1-00{number}.dcm"
        oracle = wrappers.wrapper_from_file(path)
        picture = source[5 + number]
        expected = np.diag([-1, -1, 1, 1]) @ oracle.affine  # nibabel keeps DICOM's LPS here
        assert np.allclose(picture.geometry.affine[:, [0, 1, 3]], expected[:, [0, 1, 3]], atol=1e-4)
        stored = pydicom.dcmread(path).pixel_array
        assert np.corrcoef(picture.image[0].ravel(), np.clip(stored, 0, np.percentile(stored, 99)).ravel())[0, 1] > 0.99
    assert np.allclose(source[7].geometry.affine[:3, 2], [0, 0, 1.5], atol=1e-4)


def test_frames_of_a_real_enhanced_file_lie_where_its_functional_groups_say(shared_data):
    source = build(shared_data / "nifti_dicom" / "enhanced_mr_multiframe.dcm", percentiles=(0, 100))
    assert len(source) == 6
    corner = source[5].geometry.affine @ [0, 0, 0, 1]
    assert np.allclose(corner[:3], [109.79, 58.4774, 6.59644], atol=1e-3)
    assert source[0].geometry.spacing_mm == pytest.approx((3.375, 3.375, 2.4), abs=1e-3)
    stored = pydicom.dcmread(shared_data / "nifti_dicom" / "enhanced_mr_multiframe.dcm").pixel_array
    values = torch.stack([picture.image[0] for picture in source]).numpy()
    assert np.allclose((values + 1) / 2 * (stored.max() - stored.min()) + stored.min(), stored, atol=0.01)


# --- one property each ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_values_are_rescaled(tmp_path, syntax):
    stored = pixels()
    save(tmp_path / "a", image(stored, syntax=syntax, RescaleSlope="-2", RescaleIntercept="500"))
    values = -2.0 * stored + 500
    expected = (values - values.min()) / (values.max() - values.min()) * 2 - 1
    assert np.allclose(build(tmp_path, percentiles=(0, 100))[0].image[0], expected, atol=1e-5)


def test_low_is_white_in_monochrome1(tmp_path):
    save(tmp_path / "a", image(pixels(), PhotometricInterpretation="MONOCHROME1"))
    save(tmp_path / "b", image(pixels(), SeriesInstanceUID=generate_uid()))
    first, second = build(tmp_path, percentiles=(0, 100))
    assert torch.allclose(first.image, -second.image, atol=1e-5)


def test_run_length_encoding_is_read(tmp_path):
    packed = image(pixels())
    packed.compress(RLELossless)
    save(tmp_path / "a", packed)
    save(tmp_path / "b", image(pixels(), SeriesInstanceUID=generate_uid()))
    first, second = build(tmp_path)
    assert torch.equal(first.image, second.image)


def test_order_comes_from_places_not_from_names_or_numbers(tmp_path):
    for name, (height, instance) in {"a": (4.0, 1), "b": (0.0, 3), "c": (2.0, 2)}.items():
        save(tmp_path / name, image(position=(1.0, 2.0, height), instance=instance))
    source = build(tmp_path)
    assert [float(picture.geometry.affine[2, 3]) for picture in source] == [0.0, 2.0, 4.0]
    affine = source[1].geometry.affine
    assert np.allclose(affine @ [0, 0, 0, 1], [-1, -2, 2, 1])
    assert np.allclose(affine @ [1, 0, 0, 1], [-1, -2.5, 2, 1])  # a row down: to the back
    assert np.allclose(affine @ [0, 1, 0, 1], [-1.8, -2, 2, 1])  # a column on: to the left
    assert np.allclose(affine @ [0, 0, 1, 1], [-1, -2, 4, 1])
    assert source[1].geometry.spacing_mm == (0.5, 0.8, 2.0)


def test_places_that_come_twice_make_two_volumes(tmp_path):
    for instance in range(6):
        save(tmp_path / f"{instance}", image(position=(0, 0, 3.0 * (instance % 3)), instance=instance))
    source = build(tmp_path)
    assert source.id(3) == "series01_volume02_slice000"
    assert source.stacks() == (range(3), range(3, 6))


def test_echoes_and_parts_of_the_complex_image_are_series_of_their_own(tmp_path):
    save(tmp_path / "a", image(EchoNumbers=1))
    save(tmp_path / "b", image(EchoNumbers=2))
    save(tmp_path / "c", image(ImageType=["ORIGINAL", "PRIMARY", "P"]))
    assert [build(tmp_path).id(index) for index in range(3)] == [f"series0{n}_slice000" for n in (1, 2, 3)]
    assert len(build(tmp_path, series=2)) == 1
    with pytest.raises(DataError, match="number 4 is asked for"):
        build(tmp_path, series=4)


def test_central_slices_and_fitting(tmp_path):
    for instance in range(5):
        save(tmp_path / f"{instance}", image(position=(0, 0, 3.0 * instance), instance=instance))
    source = build(tmp_path, slices=3, pad=8)
    assert [source.id(index)[-3:] for index in range(3)] == ["001", "002", "003"]
    assert source.shape(0) == source[0].image.shape == (1, 8, 8)
    assert np.allclose(source[0].geometry.affine @ [4, 4, 0, 1], [-1.6, -1.5, 3, 1])  # old (3, 2)


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_without_a_place_the_orientation_is_unknown(tmp_path, missing):
    for name, instance in (("a", 2), ("b", 1)):
        save(tmp_path / name, image(np.full((6, 5), instance), instance=instance, **{missing: None}))
    source = build(tmp_path, percentiles=(0, 100))
    assert source[0].geometry == Geometry(None, (0.5, 0.8))
    assert source[0].image.max() < source[1].image.min()  # in the order of their numbers


def test_other_objects_and_other_files_are_passed_over(tmp_path, caplog):
    save(tmp_path / "image", image())
    report = image(Rows=None, Columns=None, PixelData=None, SOPClassUID=EnhancedSRStorage)
    save(tmp_path / "report", report)
    save(tmp_path / "DICOMDIR", image(instance=2))
    (tmp_path / "notes.txt").write_text("notes")
    assert len(build(tmp_path)) == 1
    assert "DICOM file 2 (in the order of their names) holds no image. Left out" in caplog.text


@pytest.mark.parametrize("length", [133, 200, 350, 600])
def test_an_image_cut_in_its_header_is_not_left_out_in_silence(tmp_path, length):
    save(tmp_path / "a", image())
    whole = save(tmp_path / "b", image(instance=2)).read_bytes()
    assert b"\x28\x00\x10\x00US" not in whole[:length]  # its rows are not stated yet
    (tmp_path / "b").write_bytes(whole[:length])
    with pytest.raises(DataError, match=r"DICOM file 2 .* is damaged or cut short"):
        build(tmp_path)


def test_what_was_written_comes_back_where_it_was(tmp_path):
    data = np.random.default_rng(0).random((3, 64, 80)).astype(np.float32)
    affine = np.array([[0, -1.5, 0, 90], [-1.4, 0, 0, -60], [0, 0, 3.0, 12], [0, 0, 0, 1]])
    write_dicom(tmp_path / "series", data, Geometry(affine), (0.0, 1.0))
    source = build(tmp_path / "series", percentiles=(0, 100))
    assert len(source) == 3
    for number, picture in enumerate(source):
        assert np.allclose(picture.geometry.affine @ [0, 0, 0, 1], affine @ [0, 0, number, 1], atol=1e-4)
        low, high = data.min(), data.max()
        expected = (data[number] - low) / (high - low) * 2 - 1
        assert np.allclose(picture.image[0, :40], expected[:40], atol=0.01)  # above the warning


# --- identifiers ----------------------------------------------------------------------------------------------------


def test_nothing_that_names_the_patient_leaves_the_reader(tmp_path, caplog):
    folder = tmp_path / "DOE_JANE"
    folder.mkdir()
    save(folder / "DOE_JANE_1.dcm", image())
    source = build(folder)
    held = pickle.dumps((source._limits, source[0], [source.id(0)])) + repr(source[0].id).encode()
    assert b"DOE" not in held
    assert b"4711" not in pickle.dumps(source)
    assert SERIES.encode() not in pickle.dumps(source)
    whole = (folder / "DOE_JANE_1.dcm").read_bytes()
    (folder / "DOE_JANE_1.dcm").write_bytes(whole[: len(whole) - 30])
    with pytest.raises(DataError) as caught:
        build(folder)[0]
    assert "DOE" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "DOE" not in caplog.text


# --- malformed files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({"Rows": 0}, "at least one"),
        ({"Rows": 60000}, "at most 4096 pixels a side"),
        ({"NumberOfFrames": 10**6}, "at most 65536"),
        ({"NumberOfFrames": -1}, "at least one"),
        ({"BitsAllocated": 12}, "12 bits a pixel"),
        ({"NumberOfFrames": 4000, "Rows": 4000, "Columns": 4000}, "shorter than its header says"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "in colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "in colour"),
        ({"PixelData": None}, "no pixels"),
        ({"PixelData": bytes(10)}, "no pixels|shorter"),
    ],
)
def test_impossible_files_are_refused(tmp_path, fields, because):
    with pytest.raises(DataError, match=because) as caught:
        build(save(tmp_path / "DOE.dcm", image(**fields)))[0]
    assert "DICOM file 1" in str(caught.value)
    assert "DOE" not in str(caught.value)


def test_packed_pixels_are_refused_with_what_to_do(tmp_path):
    file = image()
    file.PixelData = pydicom.encaps.encapsulate([bytes(100)])
    file.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    with pytest.raises(DataError, match="compressed: convert"):
        build(save(tmp_path / "a", file))


def test_a_deflated_bomb_is_not_unpacked(tmp_path):
    file = image(np.zeros((2000, 2000), np.uint16))
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save(tmp_path / "a", file)
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match="deflated"):
        build(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 500])
def test_garbage(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=r"no DICOM file|damaged|holds an image"):
        build(tmp_path)


def test_cut_anywhere_a_file_is_refused_or_whole(tmp_path):
    whole = save(tmp_path / "a", image()).read_bytes()
    for length in range(132, len(whole), 37):
        (tmp_path / "a").write_bytes(whole[:length])
        with pytest.raises(DataError):
            build(tmp_path)[0]


def test_damage_anywhere_is_no_traceback(tmp_path):
    whole = save(tmp_path / "a", image()).read_bytes()
    draw = np.random.default_rng(0)
    read, refusals = 0, []
    for _ in range(60):
        content = bytearray(whole)
        for place in draw.integers(132, len(whole) - 60, 6):
            content[place] = draw.integers(256)
        (tmp_path / "a").write_bytes(content)
        try:
            found = build(tmp_path)[0].image
        except DataError as error:
            refusals.append(str(error))
        else:
            read += 1
            assert found.isfinite().all()
            assert found.abs().max() <= 1
    assert read  # pixels and harmless entries are damaged too: such a file is an image still
    assert len(set(refusals)) > 3
    for message in refusals:
        assert "\n" not in message
        assert str(tmp_path.parent) not in message


def test_a_constant_volume_is_refused(tmp_path):
    with pytest.raises(DataError, match="constant"):
        build(save(tmp_path / "a", image(np.zeros((6, 5)))))[0]


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="no DICOM file"):
        build(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        build(tmp_path / "DOE")
