"""ISMRMRD files that point elsewhere, lie about their size or are damaged: one sentence, before memory is taken."""

import re
import struct
import tracemalloc
from contextlib import suppress

import h5py
import numpy as np
import pytest

from rsd_med.base.errors import DataError
from rsd_med.data.ismrmrd import ISMRMRDSettings

from .conftest import complex_noise
from .ismrmrd_files import lines_of, write, xml


def read(path):
    return ISMRMRDSettings(root=str(path)).build()[0]


def refusal(path) -> str:
    """Return the sentence with which a file is refused, which is like all of them."""
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert path.name in message
    assert str(path.parent) not in message  # folder names may tell a patient
    assert "\n" not in message
    return message


@pytest.fixture
def scan(tmp_path):
    return write(tmp_path / "scan.h5", xml(), lines_of(complex_noise(2, 16, 12)))


def records(path):
    """Where the records of the acquisitions begin in the file."""
    places = []
    with h5py.File(path) as file:
        file["dataset/data"].id.chunk_iter(lambda chunk: places.append(chunk.byte_offset))
    return places


def replaced(path, name, make):
    """Put something else in the place of a member of the file."""
    with h5py.File(path, "a") as file:
        old = file[name]
        del file[name]
        make(file, old)
    return path


# --- whole files ----------------------------------------------------------------------------------------------------


def test_files_that_are_none(scan, tmp_path):
    whole = scan.read_bytes()
    for content, because in ((b"", "empty"), (b"text", "not a readable HDF5 file")):
        scan.write_bytes(content)
        assert re.search(because, refusal(scan))
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        scan.write_bytes(whole[: int(share * len(whole))])
        assert re.search("readable|damaged", refusal(scan))
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nowhere.h5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.h5 or \.mrd file"):
        read(tmp_path / "empty")


def test_an_hdf5_file_of_another_sort(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = complex_noise(1, 2, 4, 4)
    assert re.search("no acquisitions", refusal(tmp_path / "scan.h5"))


# --- data that lie somewhere else -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dataset", "dataset/data", "dataset/xml"])
@pytest.mark.parametrize("external", [True, False])
def test_links(scan, tmp_path, name, external):
    write(tmp_path / "secret.h5", xml(), lines_of(complex_noise(2, 16, 12)))
    link = h5py.ExternalLink(str(tmp_path / "secret.h5"), name) if external else h5py.SoftLink("/elsewhere")

    def make(file, old):
        file["elsewhere"] = old
        file[name] = link

    assert re.search("link", refusal(replaced(scan, name, make)))


def test_external_storage_and_virtual_tables(scan, tmp_path):
    flat = np.dtype([("head", "u1", 340)])

    def external(file, old):
        file.create_dataset("dataset/data", (2,), flat, external=[(str(tmp_path / "secret"), 0, 680)])

    (tmp_path / "secret").write_bytes(bytes(1000))
    assert re.search("another file", refusal(replaced(scan, "dataset/data", external)))

    def virtual(file, old):
        layout = h5py.VirtualLayout((2,), flat)
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (2,), flat)
        file.create_virtual_dataset("dataset/data", layout)

    assert re.search("virtual", refusal(replaced(scan, "dataset/data", virtual)))


# --- tables that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "because"),
    [
        (lambda file, old: file.create_dataset("dataset/data", data=np.zeros(3)), "no table"),
        (lambda file, old: file.create_group("dataset/data"), "no table"),
        (lambda file, old: file.create_dataset("dataset/data", (3, 2), old.dtype), "no table"),
        (lambda file, old: file.create_dataset("dataset/data", (0,), old.dtype, maxshape=(None,)), "0 acquisitions"),
        (lambda file, old: file.create_dataset("dataset/data", (1 << 40,), old.dtype, chunks=(1,)), "acquisitions"),
        (lambda file, old: file.create_dataset("dataset/data", (5,), old.dtype, chunks=(1,)), "incomplete"),
        (lambda file, old: file.create_dataset("dataset/data", (5,), old.dtype), "incomplete"),
        (lambda file, old: file.create_dataset("dataset/data", (2,), old.dtype, compression="gzip"), "filter"),
        (lambda file, old: file.create_dataset("dataset/data", (2,), np.dtype([("head", "f4")])), "single precision"),
        (
            lambda file, old: file.create_dataset(
                "dataset/data", (2,), np.dtype([("head", "f4"), ("data", h5py.vlen_dtype(np.float32))])
            ),
            "headers of version 1",
        ),
    ],
)
def test_tables_that_are_none(scan, make, because):
    assert re.search(because, refusal(replaced(scan, "dataset/data", make)))


# --- acquisitions that lie ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 63, 65, 1 << 20, 0xFFFFFFFF])
def test_a_length_that_contradicts_the_header_is_refused_before_memory_is_taken(scan, length):
    content = bytearray(scan.read_bytes())
    struct.pack_into("<I", content, records(scan)[3] + 356, length)  # the length of `data`
    scan.write_bytes(content)
    assert re.search("acquisition 3 declares another amount", refusal(scan))


def test_a_bomb_of_consistent_lies_is_refused_before_memory_is_taken(scan):
    content = bytearray(scan.read_bytes())
    place = records(scan)[0]
    struct.pack_into("<HHH", content, place + 34, 16000, 128, 128)  # samples, available and active channels
    struct.pack_into("<I", content, place + 356, 2 * 16000 * 128)
    scan.write_bytes(content)
    tracemalloc.start()
    assert re.search("declares another amount", refusal(scan))
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_data_that_lie_outside_of_the_file(scan):
    content = bytearray(scan.read_bytes())
    struct.pack_into("<Q", content, records(scan)[2] + 360, len(content) - 8)
    scan.write_bytes(content)
    assert re.search("acquisition 2 is damaged", refusal(scan))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1j * np.nan])
def test_values_that_are_no_numbers(tmp_path, value):
    kspace = complex_noise(2, 16, 12)
    kspace[1, 3, 4] = value
    assert re.search("acquisition 4 holds NaN", refusal(write(tmp_path / "scan.h5", xml(), lines_of(kspace))))


def test_k_space_of_zeros(tmp_path):
    assert re.search(
        "zero everywhere", refusal(write(tmp_path / "scan.h5", xml(), lines_of(np.zeros((2, 16, 12), np.complex64))))
    )


def test_damage_to_the_records_is_no_traceback(scan):
    whole, places = scan.read_bytes(), records(scan)
    draw = np.random.default_rng(0)
    for _ in range(40):
        content = bytearray(whole)
        for place in draw.choice(places, 4):
            content[place + draw.integers(372)] = draw.integers(256)
        scan.write_bytes(content)
        with suppress(DataError):
            read(scan)


# --- headers --------------------------------------------------------------------------------------------------------

BOMB = b'<?xml version="1.0"?><!DOCTYPE h [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><ismrmrdHeader>&b;</ismrmrdHeader>'


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (BOMB, "document type"),
        (b"<ismrmrdHeader>", "well-formed"),
        (b"<a>" + b"x" * (1 << 20) + b"</a>", "too many"),
        (b"<a>" * 100_000, "well-formed"),
    ],
)
def test_bad_headers(tmp_path, text, because):
    assert re.search(because, refusal(write(tmp_path / "scan.h5", text, lines_of(complex_noise(2, 16, 12)))))


def test_a_header_of_numbers(scan):
    assert re.search(
        "one string",
        refusal(replaced(scan, "dataset/xml", lambda file, old: file.create_dataset("dataset/xml", data=[1, 2]))),
    )
