"""What a pass over all items costs: the file is parsed once, and its bytes are read no more than twice.

Bytes are those that the system counts for this process (rchar of /proc/self/io).
"""

import gzip
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pydicom.filereader
import pytest
from pydicom.uid import RLELossless
from scipy.spatial.transform import Rotation

from rsd_med.data import dicom_pixels
from rsd_med.data.dicom import DicomSettings
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.nifti import NiftiSettings

from .dicom_files import enhanced, image, save
from .test_dicom_mosaic import mosaic

COUNTS = Path("/proc/self/io")
SLACK = 200_000
"""Of python itself: modules that are loaded, tables of names."""

counted = pytest.mark.skipif(not COUNTS.is_file(), reason="only Linux counts a process's bytes in /proc/self/io")


def bytes_read():
    return int(COUNTS.read_text().split("rchar:")[1].split()[0])


def cost(build):
    """Return the bytes that building a source and a pass over its items take, after a first pass has loaded modules."""
    list(build())
    before = bytes_read()
    items = list(build())
    return bytes_read() - before, len(items)


def multiframe(frames, *, undefined=True, packed=False):
    values = np.random.default_rng(0).integers(0, 4000, (frames, 48, 40)).astype(np.uint16)
    groups = [{"PlanePosition": {"ImagePositionPatient": [0, 0, float(n)]}} for n in range(frames)]
    file = enhanced(values, groups, undefined)
    if packed:
        file.compress(RLELossless)
        file.PixelData = pydicom.encaps.encapsulate(
            list(pydicom.encaps.generate_frames(file.PixelData, number_of_frames=frames)), has_bot=False
        )
    return file


@counted
@pytest.mark.parametrize(
    "options", [{}, {"undefined": False}, {"packed": True}], ids=["undefined", "defined", "packed"]
)
def test_a_multi_frame_file_is_read_twice_at_most(tmp_path, options):
    for frames in (20, 80):
        path = save(tmp_path / f"{frames}", multiframe(frames, **options))
        read, items = cost(lambda path=path: DicomSettings(root=str(path)).build())
        assert items == frames
        assert read < 2 * path.stat().st_size + SLACK


@pytest.mark.parametrize("kind", ["undefined", "packed", "mosaic", "folder"])
def test_every_dicom_file_is_parsed_once_and_every_image_decoded_once(tmp_path, monkeypatch, kind):
    files = {
        "undefined": lambda: [multiframe(30)],
        "packed": lambda: [multiframe(30, packed=True)],
        "mosaic": lambda: [mosaic(15, Rotation.identity())],
        "folder": lambda: [image(position=(0, 0, float(n))) for n in range(9)],
    }[kind]()
    for number, file in enumerate(files):
        save(tmp_path / f"{number}", file)
    counts = {"parsed": 0, "decoded": 0, "walked": 0}

    def counting(name, function):
        def call(*arguments, **options):
            counts[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(pydicom.filereader, "read_partial", counting("parsed", pydicom.filereader.read_partial))
    monkeypatch.setattr(pydicom.encaps, "parse_fragments", counting("walked", pydicom.encaps.parse_fragments))
    monkeypatch.setattr(dicom_pixels.StoredPixels, "read", counting("decoded", dicom_pixels.StoredPixels.read))
    source = DicomSettings(root=str(tmp_path)).build()
    assert len(list(source)) == {"undefined": 30, "packed": 30, "mosaic": 15, "folder": 9}[kind]
    list(source.unclipped())
    images = {"undefined": 30, "packed": 30, "mosaic": 1, "folder": 9}[kind]
    assert counts == {"parsed": len(files), "decoded": images, "walked": 1 if kind == "packed" else 0}


@counted
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_a_volume_in_time_is_read_twice_at_most(tmp_path, axis, packed):
    path = tmp_path / ("x.nii.gz" if packed else "x.nii")
    values = np.random.default_rng(0).integers(0, 4000, (40, 36, 32, 10)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    read, items = cost(lambda: NiftiSettings(root=str(path), axis=axis, volume="all").build())
    assert items == values.shape[axis] * 10
    unpacked = len(gzip.decompress(path.read_bytes())) if packed else 0  # from the temporary copy, where there is one
    assert read < 2 * (path.stat().st_size + unpacked) + SLACK


@counted
@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"chunks": (1, 2, 128, 96), "compression": "gzip"},
        {"chunks": (24, 2, 128, 96), "compression": "gzip"},
        {"chunks": (7, 1, 40, 96), "compression": "gzip"},
        {"chunks": True, "compression": "gzip", "shuffle": True},
    ],
    ids=["whole", "slices", "all slices", "some slices", "h5py's own"],
)
def test_a_file_of_many_slices_is_read_twice_at_most(tmp_path, storage):
    path = tmp_path / "x.h5"
    kspace = np.random.default_rng(0).standard_normal((24, 2, 128, 96, 2)).astype(np.float32).view(np.complex64)[..., 0]
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", data=kspace, **storage)
        file.create_dataset("sensitivity_maps", data=kspace, **storage)
    read, items = cost(lambda: FastMRIHDF5(path))
    assert items == 24
    assert read < 2 * path.stat().st_size + SLACK
    source = FastMRIHDF5(path)
    for number in (23, 0, 11, 12):
        scan = source[number]
        scan.kspace[:] = 0  # what a caller does with his copy is his affair
        assert np.array_equal(source[number].kspace, kspace[number])
        assert np.array_equal(source[number].maps, kspace[number])
