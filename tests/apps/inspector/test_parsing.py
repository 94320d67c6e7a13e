"""Hostile and honest files, opened in the child process as the app does it."""

import gzip
import json
import os
import shutil
import signal

import h5py
import nibabel
import numpy as np
import pytest
import torch

from apps.inspector.compute import confined, parsing
from apps.inspector.compute.parsing import load_item, read_item, read_stack
from apps.inspector.web.uploads import HEAD_BYTES, sniff
from rsd_med.base.errors import DataError
from rsd_med.data.scan import Geometry
from rsd_med.data.writing.dicom import write_dicom
from tests.data.dicom_files import enhanced, save


@pytest.fixture
def out(tmp_path):
    return tmp_path / "item.npz"


def write_scan(path, kspace, **attributes):
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        file.attrs.update(attributes)
    return path


def complex_noise(*shape):
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def test_a_scan_comes_back_as_plain_arrays_and_facts(tmp_path, out):
    kspace = complex_noise(3, 2, 24, 16)
    found = read_item(write_scan(tmp_path / "x.h5", kspace, patient_id="DOE^JOHN"), out)
    assert found["kind"] == "scan"
    assert (found["count"], found["index"], found["coils"], found["shape"]) == (3, 1, 2, [24, 16])
    np.testing.assert_array_equal(load_item(out)["kspace"], kspace[1])
    assert "DOE" not in json.dumps(found)
    first = read_item(tmp_path / "x.h5", out, 0)
    assert first["index"] == 0
    np.testing.assert_array_equal(load_item(out)["kspace"], kspace[0])
    with pytest.raises(DataError, match="3 slices"):
        read_item(tmp_path / "x.h5", out, 3)


def test_a_film_from_matlab_is_shown_time_by_time(tmp_path, out):
    kspace = complex_noise(3, 2, 4, 16, 24)  # time, slice, coil, ky, kx: MATLAB's order in reverse
    pairs = kspace.view(np.float32).view([("real", "f4"), ("imag", "f4")])
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:
        file["kspace_full"] = pairs.reshape(kspace.shape)
    with (tmp_path / "x.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128))
        file.seek(0)
        assert sniff(file.read(HEAD_BYTES)) == ".mat"
    found = read_item(tmp_path / "x.mat", out, 3)
    assert (found["kind"], found["count"], found["coils"], found["shape"]) == ("scan", 6, 4, [24, 16])
    np.testing.assert_array_equal(load_item(out)["kspace"], kspace[1, 1].swapaxes(-1, -2))


def test_a_picture_keeps_its_geometry_and_loses_its_header(tmp_path, out):
    image = nibabel.Nifti1Image(np.random.default_rng(0).random((9, 8, 4)).astype(np.float32), np.diag([2, 3, 4, 1]))
    image.header["descrip"] = b"DOE^JOHN <script>"
    nibabel.save(image, tmp_path / "x.nii.gz")
    found = read_item(tmp_path / "x.nii.gz", out)
    assert found["kind"] == "picture"
    assert found["oriented"]
    assert "DOE" not in json.dumps(found)
    assert b"DOE" not in out.read_bytes()


def test_all_slices_are_read_as_they_lie(tmp_path):
    values = np.random.default_rng(0).random((9, 8, 4)).astype(np.float32)
    values[4, 4, 2] = 50.0  # far above the rest, and not to be clipped
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2, 3, 4, 1])), tmp_path / "x.nii.gz")
    found = read_stack(tmp_path / "x.nii.gz", tmp_path / "x.npy")
    assert (found["count"], found["kind"], found["spacing_mm"]) == (4, "picture", [2, 3, 4])
    assert np.diag(found["affine"]).tolist() == [2, 3, 4, 1]
    volume = np.load(tmp_path / "x.npy")
    np.testing.assert_allclose(volume, np.moveaxis(values, 2, 0), atol=1e-5)  # in the file's own values
    assert found["window"] == [0.0, pytest.approx(np.percentile(volume, 99.5))]
    assert (found["first"], found["index"], found["total"], found["volumes"]) == (0, 2, 4, 1)

    asked = nibabel.Nifti1Image(values, np.diag([2, 3, 4, 1]))
    asked.header["cal_min"], asked.header["cal_max"] = 0.25, 2.5
    nibabel.save(asked, tmp_path / "asked.nii")
    assert read_stack(tmp_path / "asked.nii", tmp_path / "x.npy")["window"] == [0.25, 2.5]

    kspace = complex_noise(3, 2, 24, 16)
    found = read_stack(write_scan(tmp_path / "x.h5", kspace), tmp_path / "x.npy")
    assert (found["count"], found["kind"]) == (3, "scan")
    centred = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, (-2, -1)), norm="ortho"), (-2, -1))
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), np.sqrt((abs(centred) ** 2).sum(1)), rtol=2e-5)
    with pytest.raises(DataError, match="3 slices"):
        read_stack(tmp_path / "x.h5", tmp_path / "y.npy", 3)
    assert not (tmp_path / "y.npy").exists()


@pytest.mark.parametrize("task", [parsing._read, parsing._read_stack])
def test_a_multi_frame_file_is_parsed_once_here_too(tmp_path, monkeypatch, task):
    import pydicom.filereader

    values = np.random.default_rng(0).integers(0, 4000, (40, 24, 20)).astype(np.uint16)
    frames = [{"PlanePosition": {"ImagePositionPatient": [0, 0, float(number)]}} for number in range(40)]
    path = save(tmp_path / "x.dcm", enhanced(values, frames, undefined=True))
    parsed = []
    whole = pydicom.filereader.read_partial
    monkeypatch.setattr(pydicom.filereader, "read_partial", lambda *a, **k: parsed.append(a) or whole(*a, **k))
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    assert task(path, tmp_path / "out.npz", None)["count"] == 40
    assert len(parsed) == 1


def test_what_the_reader_says_beside_what_it_reads_comes_along(tmp_path, out):
    files = write_dicom(tmp_path / "series", np.random.default_rng(0).random((3, 24, 16)), Geometry(), (0.0, 1.0))
    shutil.copyfile(files[1], tmp_path / "series" / "again.dcm")
    found = read_item(tmp_path / "series", out)
    assert found["count"] == 3
    assert ["is a copy of another" in sentence for sentence in found["notices"]] == [True]
    assert read_item(write_scan(tmp_path / "x.h5", complex_noise(1, 2, 24, 16)), out)["notices"] == []


def test_a_picture_alone_is_read_and_a_guess_about_axes_is_told(tmp_path):
    values = np.linspace(-200, 700, 16 * 12).reshape(16, 12)
    np.save(tmp_path / "x.npy", values)
    alone = read_stack(tmp_path / "x.npy", tmp_path / "stack.npy")
    assert (alone["count"], alone["shape"], alone["notices"]) == (1, [16, 12], [])
    np.testing.assert_allclose(np.load(tmp_path / "stack.npy")[0], values, rtol=1e-4)
    assert alone["window"][0] == -200
    np.save(tmp_path / "x.npy", values.astype(np.complex64))
    (guess,) = read_stack(tmp_path / "x.npy", tmp_path / "96A-stack.npy")["notices"]
    assert guess.startswith("An array of complex numbers, shape (1, 16, 12), is taken for 1 images")  # no name of ours
    for broken, why in ((values * np.nan, "some values are not finite"), (values * 0, "all values are the same")):
        np.save(tmp_path / "x.npy", broken)
        with pytest.raises(DataError, match=f"^{why.capitalize()}"):
            read_stack(tmp_path / "x.npy", tmp_path / "stack.npy")
    guessed = read_stack(write_scan(tmp_path / "x.h5", complex_noise(5, 24, 16)), tmp_path / "stack.npy")
    (guess,) = guessed["notices"]
    assert guess.startswith("'kspace' has three axes and no header says what the first is")
    (tmp_path / "junk.h5").write_bytes(b"no scan at all" * 40)
    with pytest.raises(DataError, match=r"^The file is nothing that is recognised"):
        read_stack(tmp_path / "junk.h5", tmp_path / "stack.npy")


def test_dicom_keeps_its_units_and_asks_for_its_window(tmp_path):
    from tests.data.dicom_files import image

    values = np.arange(24 * 20, dtype=np.uint16).reshape(24, 20)
    window = {"WindowCenter": 40, "WindowWidth": 400, "Modality": "CT"}
    save(tmp_path / "x.dcm", image(values, (0, 0, 0), 1, RescaleSlope=2, RescaleIntercept=-1024, **window))
    found = read_stack(tmp_path / "x.dcm", tmp_path / "stack.npy")
    np.testing.assert_allclose(np.load(tmp_path / "stack.npy")[0], 2.0 * values - 1024, atol=1e-3)
    assert found["unit"] == "HU"
    assert found["window"] == [-160.0, 239.0]  # PS3.3 C.11.2.1.2: centre - 0.5 -+ (width - 1) / 2


def hostile_external(path):
    secret = path.with_name("secret")
    secret.write_bytes(bytes(2 * 8 * 16 * 16))
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (1, 2, 16, 16), "c8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def hostile_link(path):
    write_scan(path.with_name("other.h5"), complex_noise(1, 2, 16, 16))
    with h5py.File(path, "w") as file:
        file["kspace"] = h5py.ExternalLink(str(path.with_name("other.h5")), "kspace")


def hostile_size(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (1, 4096, 4096, 4096), "c8", chunks=(1, 1, 64, 64))


def hostile_bomb(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (1, 128, 4096, 4096), "c8", chunks=(1, 1, 1024, 1024), compression="gzip")


def hostile_text(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"<html>" * 100)


def hostile_gzip(path):
    with gzip.open(path, "wb") as file:
        header = nibabel.Nifti1Header()
        header.set_data_shape((4096, 4096, 64))
        header.set_data_dtype(np.float32)
        file.write(header.binaryblock[:344] + b"n+1\0" + bytes(4))
        for _ in range(64):
            file.write(bytes(1 << 20))


def hostile_pickle(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def hostile_nan(path):
    write_scan(path, np.full((1, 2, 16, 16), np.nan, np.complex64))


def hostile_zero(path):
    write_scan(path, np.zeros((1, 2, 16, 16), np.complex64))


HOSTILE = {
    "external.h5": hostile_external,
    "link.h5": hostile_link,
    "size.h5": hostile_size,
    "bomb.h5": hostile_bomb,
    "text.h5": hostile_text,
    "bomb.nii.gz": hostile_gzip,
    "pickle.npy": hostile_pickle,
    "nan.h5": hostile_nan,
    "zero.h5": hostile_zero,
}


@pytest.mark.parametrize("read", [read_item, read_stack])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence(tmp_path, out, name, read):
    path = tmp_path / name
    HOSTILE[name](path)
    if read is read_stack and name == "zero.h5":
        return  # an empty volume may be looked at
    with pytest.raises(DataError) as refused:
        read(path, out)
    sentence = str(refused.value)
    assert "Traceback" not in sentence
    assert str(tmp_path) not in sentence
    assert len(sentence) < 400
    assert not out.exists()


def eats_memory(path, out, index):
    return {"size": len(bytearray(confined.MEMORY_BYTES + (1 << 20)))}


def fills_the_disk(path, out, index):
    with out.open("wb") as file:
        file.truncate(confined.DISK_BYTES + 1)
    return {}


def takes_long(path, out, index):
    import resource

    assert resource.getrlimit(resource.RLIMIT_CPU) == (confined.CPU_SECONDS, confined.CPU_SECONDS + 1)
    resource.setrlimit(resource.RLIMIT_CPU, (1, 2))  # that a test takes a second, and not a minute
    while True:
        pass


def breaks(path, out, index):
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("task", "because"),
    [
        (eats_memory, "more than 3 GiB of memory, the most that this app allows"),
        (fills_the_disk, "more than 1 GiB on the disk, the most that this app allows"),
        (takes_long, "more than 60 s of one processor, the most that this app allows"),
        (breaks, "ended by it .code -11.*damaged"),
    ],
)
def test_a_limit_that_fires_says_so_and_how_large_it_is(tmp_path, out, task, because):
    with pytest.raises(DataError, match=because) as refused:
        confined.in_child(task, tmp_path, out, None)
    assert ("damaged" in str(refused.value)) == (task is breaks)
    assert not out.exists()


def test_time_by_the_clock_is_a_limit_and_harms_nobody_else(tmp_path, out, monkeypatch):
    path = write_scan(tmp_path / "x.h5", complex_noise(1, 2, 16, 16))
    monkeypatch.setattr(confined, "WALL_SECONDS", 0.0)
    with pytest.raises(DataError, match="more than 0 s, the most that this app allows"):
        read_item(path, out)
    monkeypatch.undo()
    assert read_item(path, out)["coils"] == 2


def test_the_child_has_little_of_everything():
    import multiprocessing

    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=report_limits, args=(theirs,))
    child.start()
    limits = ours.recv()
    child.join(30)
    assert limits["memory"] == confined.MEMORY_BYTES
    assert limits["hoard"] == "MemoryError"
    assert limits["cpu"] == confined.CPU_SECONDS


def report_limits(pipe):
    import resource

    confined._limit()
    try:
        hoard = str(len(bytearray(confined.MEMORY_BYTES + (1 << 20))))
    except MemoryError:
        hoard = "MemoryError"
    pipe.send(
        {
            "memory": resource.getrlimit(resource.RLIMIT_DATA)[0],
            "cpu": resource.getrlimit(resource.RLIMIT_CPU)[0],
            "hoard": hoard,
            "pid": os.getpid(),
        }
    )
