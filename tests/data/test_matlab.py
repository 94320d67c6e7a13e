"""MATLAB's files, written here as MATLAB 7.3 does: the witness is the array in MATLAB's order, and NumPy's own FFT."""

import h5py
import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.base.notices import telling_notices
from rsd_med.data.matlab import MatlabSettings
from rsd_med.data.opening import open_scan
from rsd_med.data.recognition import kind_of_file, kind_of_folder
from rsd_med.operators.fourier import ifft2c

from .conftest import complex_noise

HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."


def write(path, header=HEADER, packed=False, **variables):
    """Write arrays in MATLAB's order of axes: HDF5 has them in reverse, complex numbers as a pair of named parts."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in variables.items():
            values = np.ascontiguousarray(np.asarray(array).T)
            matlab_class = {"f4": "single", "f8": "double"}.get(values.real.dtype.str[1:], "uint8")
            if values.dtype.kind == "c":
                pairs = np.empty(values.shape, [("real", values.real.dtype), ("imag", values.real.dtype)])
                pairs["real"], pairs["imag"] = values.real, values.imag
                values = pairs
            chunks = tuple(-(-side // 2) for side in values.shape) if packed else None
            file.create_dataset(name, data=values, chunks=chunks, compression="gzip" if packed else None)
            file[name].attrs["MATLAB_class"] = np.bytes_(matlab_class)
    with path.open("r+b") as file:
        file.write(header.ljust(124) + b"\x00\x02IM")
    return path


def opened(path, **settings):
    """Open a file, and return with it what was said."""
    said = []
    with telling_notices(said.append):
        source = MatlabSettings(root=str(path), **settings).build() if settings else open_scan(path)
    return source, " ".join(said)


@pytest.mark.parametrize("packed", [False, True])
def test_the_image_stands_upright_and_every_coil_slice_and_time_is_in_its_place(tmp_path, packed):
    images = complex_noise(10, 7, 3, 2, 4) / 9  # kx, ky, coil, slice, time
    images[2, 5] += 1
    shifted = np.fft.ifftshift(images, axes=(0, 1))
    kspace = np.fft.fftshift(np.fft.fft2(shifted, axes=(0, 1), norm="ortho"), axes=(0, 1)).astype(np.complex64)
    source, said = opened(write(tmp_path / "cine_sax.mat", packed=packed, kspace_full=kspace))
    assert said == ""
    assert len(source) == 8
    assert source.stacks() == tuple(range(first, first + 2) for first in (0, 2, 4, 6))
    assert [source.id(index) for index in (0, 5)] == ["cine_sax_t000_000", "cine_sax_t002_001"]
    assert source.origin(4) != source.origin(5)
    for index, scan in enumerate(source):
        time, number = divmod(index, 2)
        assert np.array_equal(scan.kspace, np.moveaxis(kspace[:, :, :, number, time], 2, 0))
        assert scan.kspace.dtype == torch.complex64
        assert scan.kspace.shape == source.shape(index) == (3, 10, 7)
        torch.testing.assert_close(
            ifft2c(scan.kspace), torch.from_numpy(np.moveaxis(images[:, :, :, number, time], 2, 0)), rtol=0, atol=1e-5
        )
        assert (scan.sampled, scan.readout, scan.acs_lines) == (None, None, None)
        assert bool(scan.acquired.all())


@pytest.mark.parametrize(
    ("name", "shape", "coils", "ids", "sentence"),
    [
        ("kspace", (6, 5, 3, 2), 3, ["a_000", "a_001"], "taken for kx, ky, coil, slice "),  # black blood: no time
        ("kus", (6, 5, 3), 3, ["a_000"], "taken for kx, ky, coil "),
        ("kspace_sub08", (6, 5), 1, ["a_000"], "taken for kx, ky "),
        ("kspace_single_full", (6, 5, 2, 2), 1, ["a_t000_000", "a_t000_001", "a_t001_000", "a_t001_001"], ""),
        ("kspace_single_sub04", (6, 5, 2), 1, ["a_000", "a_001"], "taken for kx, ky, slice "),
        ("full_kspace_data", (6, 5, 1, 1, 2), 1, ["a_t000_000", "a_t001_000"], ""),
    ],
)
def test_axes_go_by_the_name_and_what_matlab_dropped_is_said(tmp_path, name, shape, coils, ids, sentence):
    array = complex_noise(*shape).astype(np.complex128)
    source, said = opened(write(tmp_path / "a.mat", **{name: array}))
    assert sentence in said
    assert bool(said) == bool(sentence)
    assert [source.id(index) for index in range(len(source))] == ids
    has_coils = "single" not in name
    whole = array.reshape(*shape[: 2 + has_coils], *shape[2 + has_coils :], *(1,) * (4 + has_coils - len(shape)))
    whole = whole if has_coils else whole[:, :, None]
    for index, scan in enumerate(source):
        time, number = divmod(index, whole.shape[3])
        assert np.array_equal(scan.kspace, np.moveaxis(whole[..., number, time], 2, 0).astype(np.complex64))
        assert len(scan.kspace) == coils


def test_zeros_say_what_was_sampled_frame_by_frame(tmp_path):
    kspace = complex_noise(12, 16, 2, 1, 3)
    columns = np.zeros(16, bool)
    columns[::4] = columns[6:10] = True
    kspace[:, ~columns, :, :, 0] = 0
    kspace[:3, :, :, :, 1] = 0  # an asymmetric echo
    plane = np.add.outer(np.arange(12), np.arange(16)) % 3 > 0  # as where spokes are moved to the grid
    kspace[~plane, :, :, 2] = 0
    first, second, third = opened(write(tmp_path / "a.mat", kus=kspace))[0]
    assert first.acquired.tolist() == columns.tolist()
    assert first.acs_lines == 4
    assert second.readout.tolist() == [False] * 3 + [True] * 9
    assert np.array_equal(third.sampled, plane)


def test_a_folder_as_the_challenge_makes_it(tmp_path):
    arrays = {patient: complex_noise(6, 5, 2, 1, 2) * (number + 1) for number, patient in enumerate(("P001", "P002"))}
    for patient, array in arrays.items():
        (tmp_path / patient).mkdir()
        write(tmp_path / patient / "cine_sax.mat", kspace_sub04=array)
        write(tmp_path / patient / "cine_sax_mask.mat", mask04=np.ones((6, 5)))
        write(tmp_path / patient / "T1map.mat", kspace_sub04=array[..., :1])
        (tmp_path / patient / "T1map_mask.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(600))
    assert kind_of_folder(tmp_path) == "matlab"
    source, said = opened(tmp_path, include="cine*")
    assert [source.id(index) for index in range(4)] == [f"{who}_cine_sax_t00{t}_000" for who in arrays for t in (0, 1)]
    assert np.array_equal(source[3].kspace, np.moveaxis(arrays["P002"][..., 0, 1], 2, 0))
    assert "2 of its .mat files" in said
    assert "such as cine_sax_mask.mat; they are left out" in said
    assert len(opened(tmp_path)[0]) == 6
    assert len(opened(tmp_path, limit=3)[0]) == 3
    assert len(opened(write(tmp_path / "own.mat", mine=arrays["P001"]), variable="mine")[0]) == 2
    both, said = opened(write(tmp_path / "both.mat", kspace_sub04=arrays["P001"], kspace_full=arrays["P002"]))
    assert np.array_equal(both[0].kspace, np.moveaxis(arrays["P002"][..., 0, 0], 2, 0))
    assert "kspace_full is read" in said
    assert both.origin(0) != opened(tmp_path / "both.mat", variable="kspace_sub04")[0].origin(0)
    (tmp_path / "both.mat").unlink()
    write(tmp_path / "P001_T1map.mat", kspace=arrays["P001"])
    with pytest.raises(DataError, match="Two files would be called 'P001_T1map'"):
        opened(tmp_path)
    (tmp_path / "P002" / "T1map.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(600))
    with pytest.raises(DataError, match=r"^P002/T1map\.mat: a file of MATLAB's before"):
        opened(tmp_path, include="T1*")
    write(tmp_path / "P002" / "T1map.mat", kspace=np.full((6, 5), np.nan + 0j))
    with pytest.raises(DataError, match=r"^P002_T1map_000: k-space holds NaN"):
        opened(tmp_path / ".", include="T1*")[0][1]


def test_content_tells_a_file_and_masks_do_not_claim_a_folder(tmp_path):
    kspace = complex_noise(6, 5, 2, 1, 1)
    assert kind_of_file(write(tmp_path / "scan.bin", kspace=kspace)) == "matlab"
    assert kind_of_file(write(tmp_path / "plain.h5", header=b"", kspace=kspace)) is None  # nobody's header
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["kspace"] = np.zeros((1, 1, 2, 5, 6), [("real", "f4"), ("imag", "f4")])
    assert kind_of_file(tmp_path / "bare.h5") == "matlab"
    (tmp_path / "mixed").mkdir()
    write(tmp_path / "mixed" / "a.mat", mask=np.ones((6, 5)))
    (tmp_path / "mixed" / "b.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(600))
    np.save(tmp_path / "mixed" / "c.npy", np.ones((2, 6, 5)))
    assert kind_of_folder(tmp_path / "mixed") == "arrays"


def huge(path):
    """Declare a slice that is too large, and hold next to nothing of it."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("kspace", (64, 4096, 4096), [("real", "f4"), ("imag", "f4")], chunks=(1, 64, 64))
    with path.open("r+b") as file:
        file.write(HEADER)


def structure(path):
    with h5py.File(path, "a") as file:
        del file["kspace_full"]
        file.create_group("kspace_full")["data"] = [1.0]


def emptied(path):
    with h5py.File(path, "a") as file:
        del file["kspace_full"]
        file["kspace_full"] = np.array([0, 0], np.uint64)
        file["kspace_full"].attrs["MATLAB_empty"] = np.uint8(1)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(600)), r"before version 7\.3.*option -v7\.3"),
        (lambda path: path.write_bytes(path.read_bytes()[:1500]), "truncated"),
        (lambda path: path.write_bytes(b""), "nothing that is recognised"),
        (lambda path: write(path, mask04=np.ones((6, 5)), x=1.0), "no variable is named as in .*: mask04, x. Name"),
        (lambda path: write(path, kspace=np.ones((6, 5, 2))), "type float64; write complex numbers"),
        (lambda path: write(path, kspace=complex_noise(6, 5, 2, 1, 1, 1)), "has 6 axes; kx, ky, coil, slice, time are"),
        (lambda path: write(path, kspace_single=complex_noise(6, 5, 2, 1, 1)), "5 axes; kx, ky, slice, time are read"),
        (lambda path: write(path, kspace=complex_noise(6, 5, 129)), "no k-space of kx, ky, coil.*; permute it"),
        (lambda path: write(path, kspace=complex_noise(1, 5, 2)), "no k-space of kx, ky, coil.*; permute it"),
        (lambda path: write(path, kspace_single=complex_noise(2, 2, 300, 300)), "holds more slices than 65536; cut it"),
        (lambda path: write(path, kspace=np.full((6, 5, 2), np.nan + 0j)), "a_000: k-space holds NaN"),
        (lambda path: write(path, kspace=np.zeros((6, 5, 2), complex)), "a_000: k-space is zero everywhere"),
        (huge, "declares .* bytes, far more than the file holds"),
        (structure, "is no dataset; write it as an array"),
        (emptied, "'kspace_full' is empty; save it again"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, damage, sentence):
    path = write(tmp_path / "a.mat", kspace_full=complex_noise(6, 5, 2))
    damage(path)
    with pytest.raises(DataError, match=sentence):
        opened(path)[0][0]


def test_a_slice_too_large_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mat", kspace_full=complex_noise(6, 5, 2))
    monkeypatch.setattr("rsd_med.data.matlab.MAX_READ_BYTES", 6 * 5 * 2 * 8 - 1)
    with pytest.raises(DataError, match="too large to be read at once"):
        opened(path)


def test_a_file_replaced_by_another_is_named(tmp_path):
    path = write(tmp_path / "a.mat", kspace_full=complex_noise(6, 5, 2))
    source, _ = opened(path)
    write(tmp_path / "b.mat", kspace_full=complex_noise(6, 6, 2)).replace(path)
    with pytest.raises(DataError, match=r"a\.mat: the file has changed"):
        source[0]
    with pytest.raises(DataError, match="no file or folder 'nowhere'"):
        opened(tmp_path / "nowhere", include="*")
    with pytest.raises(DataError, match=r"holds no \.mat file of k-space"):
        opened(tmp_path, include="*.dat")
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.mat: the file is empty"):
        opened(path, include="*")
