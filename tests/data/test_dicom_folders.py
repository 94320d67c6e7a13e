"""Folders as they come: files of other sorts between the images, copies, files without preamble."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

from rsd_med.base.errors import DataError
from rsd_med.data.dicom import DicomSettings
from rsd_med.data.opening import open_scan
from rsd_med.data.recognition import is_dicom, kind_of_file

from .dicom_files import image, pixels, save

OTHER = generate_uid()


def build(path, **settings):
    return DicomSettings(root=str(path), **settings).build()


def colour(**fields):
    return image(SamplesPerPixel=3, PhotometricInterpretation="RGB", PixelData=bytes(180), **fields)


def compressed(**fields):
    file = image(PixelData=pydicom.encaps.encapsulate([bytes(100)]), **fields)
    file.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    return file


def deflated(**fields):
    file = image(**fields)
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return file


def empty(**fields):
    return image(PixelData=None, **fields)


def segmentation(**fields):
    return image(BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=bytes(4), **fields)


FOREIGN = {
    "is in colour": colour,
    "has 1 bits a pixel": segmentation,
    "is compressed": compressed,
    "is deflated": deflated,
    "has no pixels": empty,
}


@pytest.mark.parametrize("because", FOREIGN)
@pytest.mark.parametrize("place", ["0", "z"])
def test_a_file_of_another_sort_stops_nothing_and_is_named_once(tmp_path, caplog, because, place):
    for number in range(3):
        save(tmp_path / f"a{number}", image(position=(0, 0, 3.0 * number), instance=number))
    for copy in range(3):
        save(tmp_path / f"{place}{copy}", FOREIGN[because](SeriesInstanceUID=OTHER))
    assert len(build(tmp_path)) == 3
    assert caplog.text.count(because) == 1
    assert f"DICOM file {1 if place == '0' else 4} (as 2 others)" in caplog.text
    assert [build(tmp_path, series=1).id(n) for n in range(3)] == [f"series01_slice00{n}" for n in range(3)]
    with pytest.raises(DataError, match="number 2 is asked for"):
        build(tmp_path, series=2)


def test_a_damaged_file_stops_what_it_may_belong_to_and_nothing_else(tmp_path, caplog):
    save(tmp_path / "a", image())
    save(tmp_path / "b", image(SeriesInstanceUID=OTHER))
    whole = (tmp_path / "b").read_bytes()
    (tmp_path / "b").write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"DICOM file 2 .* shorter"):
        build(tmp_path)
    assert len(build(tmp_path, series=1)) == 1
    assert "DICOM file 2" in caplog.text
    save(tmp_path / "c", image(SeriesInstanceUID=OTHER, position=(0, 0, 3)))
    with pytest.raises(DataError, match=r"DICOM file 2 .* shorter"):
        build(tmp_path, series=2)


def test_a_copy_of_a_file_is_no_second_volume(tmp_path, caplog):
    for number in range(2):
        file = image(position=(0, 0, 3.0 * number), instance=number)
        save(tmp_path / f"{number}", file)
        save(tmp_path / f"{number} (1)", file)
    assert build(tmp_path).stacks() == (range(2),)
    assert "is a copy of another" in caplog.text


def test_what_macos_leaves_is_passed_over(tmp_path):
    save(tmp_path / "a.dcm", image())
    for name in ("._a.dcm", ".DS_Store", "__MACOSX/._a.dcm", ".hidden/b.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" + b"\xff" * 50)
    assert len(build(tmp_path)) == len(open_scan(tmp_path)) == 1


# --- without preamble -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize("first", ["SpecificCharacterSet", "ImageType", "SOPClassUID"])
def test_dicom_without_preamble_is_recognised_by_its_content(tmp_path, syntax, meta, first):
    values = pixels()
    for number in range(2):
        file = image(values + number, (0, 0, 3.0 * number), syntax=syntax)
        if first == "SpecificCharacterSet":
            file.SpecificCharacterSet = "ISO_IR 100"
        if first == "SOPClassUID":
            del file.ImageType
        whole = save(tmp_path / f"{number}.bin", file).read_bytes()
        start = 132
        if not meta:
            start += 12 + int.from_bytes(whole[140:144], "little")
        (tmp_path / f"{number}.bin").write_bytes(whole[start:])
    (tmp_path / "notes.txt").write_text("notes " * 100)
    assert kind_of_file(tmp_path / "0.bin") == "dicom"
    source = open_scan(tmp_path)
    assert len(source) == 2
    assert source[1].geometry.spacing_mm == (0.5, 0.8, 3.0)
    low, high = float(values.min()), float(values.max() + 1)
    exact = build(tmp_path, percentiles=(0, 100))
    assert np.allclose(exact[0].image[0], (values - low) / (high - low) * 2 - 1, atol=1e-5)


def test_a_deflated_file_without_preamble_is_not_unpacked(tmp_path):
    whole = save(tmp_path / "a", deflated()).read_bytes()
    (tmp_path / "a").write_bytes(whole[132:])
    with pytest.raises(DataError, match="deflated"):
        build(tmp_path)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x08\x00",
        b"notes " * 30,
        b"\x93NUMPY\x01\x00" + b" " * 150,
        b"\x1f\x8b\x08\x00" + bytes(150),
        bytes(200),
        b"\x5c\x01\x00\x00" + bytes(200),
        b"\x08\x00\x05\x00\xff\xff\xff\x00" + bytes(150),
    ],
)
def test_what_begins_otherwise_is_no_dicom(start):
    assert not is_dicom(start)


def test_what_only_begins_like_dicom_is_passed_over(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100" + bytes(range(256)) * 4)
    (tmp_path / "b.bin").write_bytes(b"\x08\x00\x16\x00\x04\x00\x00\x00abcd")
    save(tmp_path / "c", image())
    assert len(build(tmp_path)) == 1


def test_run_length_without_a_table_of_offsets(tmp_path):
    values = np.random.default_rng(0).integers(0, 4000, (7, 16, 12)).astype(np.uint16)
    for name, table in (("a", False), ("b", True)):
        file = image(values, NumberOfFrames=7)
        file.compress(RLELossless, encapsulate_ext=False)
        frames = list(pydicom.encaps.generate_frames(file.PixelData, number_of_frames=7))
        file.PixelData = pydicom.encaps.encapsulate(frames, has_bot=table)
        del file.ImagePositionPatient
        source = build(save(tmp_path / name, file), percentiles=(0, 100))
        low, high = float(values.min()), float(values.max())
        read = np.stack([picture.image[0] for picture in source])
        assert np.allclose((read + 1) / 2 * (high - low) + low, values, atol=0.01)
