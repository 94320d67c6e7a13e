"""The reconstruct command on whole files: geometry from raw data to picture, identifiers, and files that lie."""

import gzip
import json

import h5py
import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from rsd_med import reconstruct
from rsd_med.base.command import run_command
from rsd_med.base.draws import Draws
from rsd_med.data.coils import birdcage_maps
from rsd_med.operators.fourier import fft2c
from tests.data.ismrmrd_files import lines_of, write, xml

ROWS, COLUMNS = 48, 40
SECRETS = ("DOE", "JANE", "4711", "SECRET-1", "1970-01-01")


def call(capsys, *arguments) -> tuple[int, str]:
    code = run_command(lambda: reconstruct.main([str(argument) for argument in arguments]))
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, shown.out + shown.err


def head(points: np.ndarray) -> np.ndarray:
    """An asymmetric phantom as a function of place, millimetres RAS+: bright to the right and in front."""
    x, y, _ = np.moveaxis(points, -1, 0)
    skull = (x / 36) ** 2 + (y / 44) ** 2 < 1
    marker = (x - 14) ** 2 + (y - 18) ** 2 < 81
    return (0.3 * skull + 0.7 * marker).astype(np.float32)


def raw_file(path, down=(0, 1, 0), across=(1, 0, 0)):
    """Two slices of the phantom, four coils, as ISMRMRD: readout along ``down``, phase encoding along ``across``."""
    draw = Draws().manual_seed(0)
    maps = birdcage_maps(4, (ROWS, COLUMNS), draw)
    lines = []
    for number in range(2):
        position = np.array([3.0, -2.0, 5.0 + 4 * number])  # LPS+
        steps = np.stack(np.meshgrid(np.arange(ROWS) - ROWS // 2, np.arange(COLUMNS) - COLUMNS // 2, indexing="ij"), -1)
        place = position + steps[..., :1] * 2.0 * np.array(down) + steps[..., 1:] * 3.0 * np.array(across)
        image = torch.from_numpy(head(place * np.array([-1.0, -1.0, 1.0])))
        noise = torch.view_as_complex(torch.randn(4, ROWS, COLUMNS, 2, generator=draw))
        kspace = (fft2c(maps * image) + 0.005 * noise).numpy()
        how = {"position": tuple(position), "read_dir": down, "phase_dir": across, "slice_dir": (0, 0, 1)}
        lines += lines_of(kspace, slice=number, **how)
    return write(path, xml((ROWS, COLUMNS)), lines)


@pytest.mark.parametrize(("down", "across"), [((0, 1, 0), (1, 0, 0)), ((-1, 0, 0), (0, 1, 0))])
def test_an_asymmetric_phantom_keeps_its_place_from_raw_data_to_nifti_and_png(tmp_path, capsys, down, across):
    out = tmp_path / "out"
    scan = raw_file(tmp_path / "scan.h5", down, across)
    code, shown = call(capsys, "-", scan, "--method", "cg_sense", "--out", out)
    assert code == 0, shown
    volume = nibabel.load(out / "mean.nii.gz")
    voxels = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), -1)
    truth = head(nibabel.affines.apply_affine(volume.affine, voxels))
    found = np.asarray(volume.dataobj)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.97
    assert np.corrcoef(found[::-1].ravel(), truth.ravel())[0, 1] < 0.9
    assert np.corrcoef(found[:, ::-1].ravel(), truth.ravel())[0, 1] < 0.9
    with Image.open(out / "png" / "slice_001.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    bright = np.argwhere(pixels > 0.8 * pixels.max()).mean(0) / pixels.shape
    assert bright[0] < 0.45  # the front at the top
    assert bright[1] < 0.45  # the patient's right on the viewer's left


def test_no_identifier_is_in_any_output_or_on_the_terminal(tmp_path, capsys):
    """The patient's name and number are in the header, in an attribute, and in the names of file and folder."""
    pytest.importorskip("pydicom")
    folder = tmp_path / "DOE_JANE_4711"
    folder.mkdir()
    raw_file(folder / "SECRET-1.h5")
    rng = np.random.default_rng(0)
    kspace = rng.standard_normal((1, 2, 32, 24, 2)).astype(np.float32).view(np.complex64)[..., 0] * 0.01
    kspace[0, :, 14:19, 10:15] += 5
    with h5py.File(tmp_path / "fastmri.h5", "w") as file:
        file["kspace"] = kspace
        file.attrs["patient_id"] = "SECRET-1"
    for number, scan in enumerate((folder, tmp_path / "fastmri.h5")):
        out = tmp_path / f"out{number}"
        code, shown = call(capsys, "-", scan, "--method", "zero_filled", "--dicom", "--out", out)
        assert code == 0, shown
        written = [path for path in out.rglob("*") if path.is_file()]
        assert len(written) >= 4
        told = shown.replace(str(tmp_path), "")
        for path in written:
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            told += str(path.relative_to(out)) + content.decode("latin-1")
        for secret in SECRETS:
            assert secret not in told, secret


# --- files that lie (one sentence, exit 3, nothing left behind) -----------------------------------------------------

SHAPE = (1, 2, 16, 12)


def external_storage(file, elsewhere):
    file.create_dataset("kspace", SHAPE, np.complex64, external=[(str(elsewhere), 0, 8 * int(np.prod(SHAPE)))])


def virtual(file, elsewhere):
    layout = h5py.VirtualLayout(SHAPE, np.complex64)
    layout[:] = h5py.VirtualSource(str(elsewhere), "kspace", SHAPE)
    file.create_virtual_dataset("kspace", layout)


def external_link(file, elsewhere):
    file["kspace"] = h5py.ExternalLink(str(elsewhere), "kspace")


def soft_link(file, elsewhere):
    file["other"] = np.ones(SHAPE, np.complex64)
    file["kspace"] = h5py.SoftLink("/other")


def bomb(file, elsewhere):
    file.create_dataset("kspace", (4096, 128, 4096, 4096), np.complex64, chunks=(1, 1, 64, 64), compression="gzip")


def zero_side(file, elsewhere):
    file["kspace"] = np.ones((1, 2, 0, 12), np.complex64)


def objects(file, elsewhere):
    file.create_dataset("kspace", (3,), h5py.vlen_dtype(np.float32))


def zeros(file, elsewhere):
    file["kspace"] = np.zeros(SHAPE, np.complex64)


def infinite(file, elsewhere):
    file["kspace"] = np.full(SHAPE, np.inf, np.complex64)


def integers(file, elsewhere):
    file["kspace"] = np.ones(SHAPE, np.int16)


def entities(file, elsewhere):
    file["kspace"] = np.ones(SHAPE, np.complex64)
    file["ismrmrd_header"] = b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;&b;">]><a>&d;</a>'


@pytest.mark.parametrize(
    "lie",
    [
        external_storage,
        virtual,
        external_link,
        soft_link,
        bomb,
        zero_side,
        objects,
        zeros,
        infinite,
        integers,
        entities,
    ],
)
def test_a_raw_file_that_lies_is_refused_in_one_sentence(tmp_path, capsys, lie):
    elsewhere = tmp_path / "elsewhere.h5"
    with h5py.File(elsewhere, "w") as file:
        file["kspace"] = np.ones(SHAPE, np.complex64)
    scan, out = tmp_path / "scan.h5", tmp_path / "out"
    with h5py.File(scan, "w") as file:
        lie(file, elsewhere)
    refused(capsys, scan, out)


@pytest.mark.parametrize("name", ["text.h5", "empty.h5", "truncated.h5", "bomb.nii.gz", "short.nii", "text.dcm"])
def test_a_file_that_is_none_is_refused_in_one_sentence(tmp_path, capsys, name):
    path, out = tmp_path / name, tmp_path / "out"
    if name == "truncated.h5":
        whole = raw_file(tmp_path / "whole.h5").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif name == "bomb.nii.gz":
        header = nibabel.Nifti1Header()
        header.set_data_shape((32767, 32767, 32767))
        path.write_bytes(gzip.compress(header.binaryblock + bytes(4)))
    elif name == "short.nii":
        header = nibabel.Nifti1Header()
        header.set_data_shape((64, 64, 64))
        path.write_bytes(header.binaryblock + bytes(100))
    else:
        path.write_bytes(b"" if name == "empty.h5" else b"no such format")
    refused(capsys, path, out)


def refused(capsys, scan, out):
    code, shown = call(capsys, "-", scan, "--method", "zero_filled", "--out", out)
    assert (code, shown.count("\n")) == (3, 1), shown
    assert not out.exists() or not any(path.is_file() for path in out.rglob("*"))


def test_metrics_say_that_the_result_is_computed(tmp_path, capsys):
    out = tmp_path / "out"
    code, _ = call(capsys, "-", raw_file(tmp_path / "scan.h5"), "--method", "zero_filled", "--out", out)
    assert code == 0
    assert "not for diagnosis" in json.loads((out / "metrics.json").read_text())["note"]
