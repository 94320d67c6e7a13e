"""Files that are damaged, lie or point elsewhere: one sentence each, naming the file, and nothing else."""

import re

import h5py
import numpy as np
import pytest

from rsd_med.base.errors import DataError
from rsd_med.data import hdf5
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5

from .conftest import complex_noise, header


def refusal(path) -> str:
    """Return the sentence with which a file is refused, which is like all of them."""
    with pytest.raises(DataError) as caught:
        list(FastMRIHDF5(path))
    message = str(caught.value)
    assert path.name in message
    assert str(path.parent) not in message  # folder names may tell a patient
    assert "\n" not in message
    assert caught.value.exit_code == 3
    return message


def test_missing_root(tmp_path):
    assert re.search("does not exist", refusal(tmp_path / "nowhere"))


def test_folder_without_files(tmp_path):
    assert re.search("no .h5 file", refusal(tmp_path))


def test_two_files_of_one_name(write_file, tmp_path):
    write_file("a")
    (tmp_path / "a.hdf5").write_bytes((tmp_path / "a.h5").read_bytes())
    with pytest.raises(DataError, match="Two files"):
        FastMRIHDF5(tmp_path)


@pytest.mark.parametrize("content", [b"this is a text, not a scan", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"])
def test_foreign_content(tmp_path, content):
    path = tmp_path / "scan.h5"
    path.write_bytes(content)
    assert re.search("not a readable HDF5 file", refusal(path))


def test_empty(tmp_path):
    path = tmp_path / "scan.h5"
    path.touch()
    assert re.search("empty", refusal(path))


def test_flipped_bytes_never_raise_anything_else(write_file):
    path = write_file(
        kspace=complex_noise(1, 2, 16, 12),
        mask=np.ones(12, bool),
        ismrmrd_header=np.bytes_(header(16, 12)),
        sensitivity_maps=complex_noise(1, 2, 16, 12),
        attrs={"num_low_frequency": 4},
    )
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    draw = np.random.default_rng(0)
    outcomes = set()
    for _ in range(200):
        damaged = whole.copy()
        # HDF5's own structures lie at the beginning of the file.
        places = draw.integers(0, draw.choice([2500, len(whole)]), size=draw.integers(1, 6))
        damaged[places] = draw.integers(0, 256, len(places))
        path.write_bytes(damaged.tobytes())
        try:
            list(FastMRIHDF5(path))
        except DataError as error:
            outcomes.add(str(error))
    assert len(outcomes) > 3


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_truncated(write_file, part):
    path = write_file()
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert re.search("truncated|damaged", refusal(path))


def test_corrupted_chunk(tmp_path):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "kspace", data=complex_noise(1, 2, 64, 64), chunks=(1, 2, 64, 64), compression="gzip"
        )
        offset = dataset.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(content)
    assert re.search("cannot be read", refusal(path))


def test_no_kspace(tmp_path):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["image"] = np.zeros((2, 2))
    assert re.search("no 'kspace'", refusal(path))


def test_kspace_is_a_group(tmp_path):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_group("kspace")
    assert re.search("no dataset", refusal(path))


@pytest.mark.parametrize("shape", [(4,), (16, 12), (1, 1, 1, 16, 12), ()])
def test_wrong_rank(write_file, shape):
    assert re.search("3 or 4 dimensions", refusal(write_file(kspace=complex_noise(*shape))))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
def test_k_space_that_is_not_complex(write_file, dtype):
    assert re.search("complex", refusal(write_file(kspace=np.ones((1, 2, 16, 12), dtype))))


def test_compound_type(write_file):
    odd = np.zeros((1, 2, 16, 12), [("a", "f4"), ("b", "f4")])
    assert re.search("complex", refusal(write_file(kspace=odd)))


def test_coils_last(write_file):
    assert re.search("coils", refusal(write_file(kspace=complex_noise(1, 200, 16, 12))))


def test_variable_length(tmp_path):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (1, 2, 4, 4), dtype=h5py.vlen_dtype(np.float32))
    assert re.search("variable length", refusal(path))


def test_zero_side(write_file):
    assert re.search("empty", refusal(write_file(kspace=np.zeros((1, 0, 16, 12), np.complex64))))


def test_gigantic_side(tmp_path):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (1, 1, 10**6, 10**6), np.complex64, chunks=(1, 1, 64, 64))
    assert re.search("longer than", refusal(path))


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 1, 64, 64)}, {"chunks": (1, 1, 64, 64), "compression": "gzip"}])
def test_declares_more_than_it_holds(tmp_path, options):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (16, 128, 4096, 2048), np.complex64, **options)  # 128 GiB
    assert path.stat().st_size < 10_000
    assert re.search("declares", refusal(path))


def test_one_read_is_bounded(write_file, monkeypatch):
    path = write_file(kspace=complex_noise(1, 2, 64, 64))
    monkeypatch.setattr(hdf5, "MAX_READ_BYTES", 1000)
    assert re.search("in one piece", refusal(path))


def test_chunks_are_bounded(tmp_path, monkeypatch):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", data=complex_noise(4, 2, 16, 16), chunks=(4, 2, 16, 16))
    monkeypatch.setattr(hdf5, "MAX_READ_BYTES", 10_000)
    assert re.search("chunks", refusal(path))


def test_foreign_filter(tmp_path):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "kspace", data=complex_noise(1, 2, 16, 12).view(np.float32).reshape(1, 2, 16, 24), scaleoffset=3
        )
    assert re.search("complex|filter", refusal(path))
    with h5py.File(path, "w") as file:
        file["kspace"] = complex_noise(1, 2, 16, 12)
        file.create_dataset("mask", data=np.ones(12, np.int32), scaleoffset=0)
    assert re.search("'mask' is packed with HDF5 filter", refusal(path))


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_common_filters_are_fine(tmp_path, compression):
    path = tmp_path / "scan.h5"
    kspace = complex_noise(2, 2, 16, 12)
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", data=kspace, compression=compression, shuffle=True, fletcher32=True)
    assert np.array_equal(FastMRIHDF5(path)[1].kspace.numpy(), kspace[1])


# --- data that lie somewhere else -----------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    path = folder / "secret.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = complex_noise(1, 2, 16, 12)
    return path


def test_external_storage(tmp_path, secret):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (1, 2, 16, 12), np.complex64, external=[(str(secret), 0, 1 * 2 * 16 * 12 * 8)])
    assert re.search("another file", refusal(path))


def test_virtual_dataset(tmp_path, secret):
    path = tmp_path / "scan.h5"
    layout = h5py.VirtualLayout((1, 2, 16, 12), np.complex64)
    layout[:] = h5py.VirtualSource(str(secret), "kspace", (1, 2, 16, 12))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("kspace", layout)
    assert re.search("virtual", refusal(path))


@pytest.mark.parametrize("name", ["kspace", "mask", "sensitivity_maps", "ismrmrd_header"])
@pytest.mark.parametrize("external", [True, False])
def test_links(tmp_path, secret, name, external):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["inside"] = complex_noise(1, 2, 16, 12)
        if name != "kspace":
            file["kspace"] = complex_noise(1, 2, 16, 12)
        file[name] = h5py.ExternalLink(str(secret), "kspace") if external else h5py.SoftLink("/inside")
    assert re.search("link", refusal(path))


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, 1j * np.nan])
def test_values_that_are_no_numbers(write_file, value):
    kspace = complex_noise(2, 2, 16, 12)
    kspace[1, 0, 3, 4] = value
    assert re.search("slice 1: k-space holds NaN", refusal(write_file(kspace=kspace)))


def test_values_too_large_for_complex64(write_file):
    assert re.search("infinite", refusal(write_file(kspace=np.full((1, 2, 16, 12), 1e300, np.complex128))))


def test_nan_outside_the_mask_does_not_matter(write_file):
    kspace = complex_noise(1, 2, 16, 12)
    kspace[..., 0] = np.nan
    assert not FastMRIHDF5(write_file(kspace=kspace, mask=np.arange(12) > 0))[0].acquired[0]


def test_an_empty_slice(write_file):
    kspace = complex_noise(2, 2, 16, 12)
    kspace[1] = 0
    assert re.search("slice 1: k-space is zero", refusal(write_file(kspace=kspace)))


def test_a_mask_of_nothing(write_file):
    assert re.search("zero everywhere", refusal(write_file(mask=np.zeros(12, bool))))


@pytest.mark.parametrize("shape", [(11,), (16,), (2, 12), (3, 1, 12)])
def test_a_mask_of_another_shape(write_file, shape):
    assert re.search("'mask'", refusal(write_file(mask=np.ones(shape))))


@pytest.mark.parametrize("shape", [(2, 2, 16, 12), (3, 1, 16, 12), (3, 2, 12, 16), (2, 16, 12)])
def test_maps_of_another_shape(write_file, shape):
    assert re.search("'sensitivity_maps'", refusal(write_file(sensitivity_maps=complex_noise(*shape))))


def test_maps_that_are_no_numbers(write_file):
    maps = complex_noise(3, 2, 16, 12)
    maps[0, 0, 0, 0] = np.nan
    assert re.search("'sensitivity_maps' holds NaN", refusal(write_file(sensitivity_maps=maps)))


# --- headers --------------------------------------------------------------------------------------------------------

BOMB = '<?xml version="1.0"?><!DOCTYPE h [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><ismrmrdHeader>&b;</ismrmrdHeader>'


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (BOMB.encode(), "document type"),
        (BOMB.lower().replace("doctype", "DocType").encode(), "document type"),
        (b"<ismrmrdHeader>", "well-formed"),
        (b"not xml", "well-formed"),
        (b"\xff\xfe<\0a\0/\0>\0", "UTF-8"),
        (b"<a>" + b"x" * (1 << 20) + b"</a>", "too many|too long"),
        (b"<a>" * 100_000, "well-formed"),
    ],
)
def test_bad_headers(write_file, text, because):
    assert re.search(because, refusal(write_file(ismrmrd_header=np.bytes_(text))))


def test_a_header_of_numbers(write_file):
    assert re.search("one string", refusal(write_file(ismrmrd_header=np.arange(3))))


def test_an_oversized_header_of_variable_length(write_file):
    path = write_file()
    with h5py.File(path, "a") as file:
        file.create_dataset("ismrmrd_header", data="<a>" + "x" * (1 << 20) + "</a>", dtype=h5py.string_dtype())
    assert re.search("too many", refusal(path))


@pytest.mark.parametrize("old", ["<x>16</x>", "<x>8</x>", "<maximum>11</maximum>", "<center>6</center>", "<x>320</x>"])
@pytest.mark.parametrize("new", ["", "nan", "-5", "0.4", "1e300", "abc"])
def test_absurd_entries_count_as_unknown(write_file, old, new):
    text = header(16, 12, recon=8)
    assert old in text
    text = text.replace(old, re.sub(">.*<", f">{new}<", old))
    scan = FastMRIHDF5(write_file(ismrmrd_header=text))[0]
    assert scan.kspace.shape[1] in (8, 16)
    assert scan.geometry.spacing_mm is None or all(value > 0 for value in scan.geometry.spacing_mm)
