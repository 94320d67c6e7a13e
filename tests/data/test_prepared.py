"""Prepared once: the same bits from the store, which never ends a run and never hands out another measurement."""

import os
import shutil

import h5py
import pytest
import torch

from rsd_med.calibration.map_settings import CoilMapSettings
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions import MultiCoilFourierSettings
from rsd_med.data import prepared
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.data.prepared import PreparedMeasurements

from .conftest import complex_noise
from .test_measurements import knees, same

CALIBRATION = CalibrationSettings(maps=CoilMapSettings(kind="walsh"))
PATTERNS = [{}, {"pattern": "poisson_disk"}, {"sigma": 0.1}]


@pytest.fixture
def scans(write_file, monkeypatch):
    """Three slices with columns that do not exist, worth storing."""
    monkeypatch.setattr(prepared, "SMALLEST_BYTES", 0)
    monkeypatch.setattr(prepared, "RESERVE_BYTES", 0)
    kspace = complex_noise(3, 3, 48, 40)
    kspace[..., :3] = 0
    kspace[..., 15:25] *= 20
    return write_file(kspace=kspace)


def opened(path, folder, limit=1 << 30, **more):
    corruption = MultiCoilFourierSettings(**{"acceleration": 2, "acs_lines": 10} | more)
    store = PreparedMeasurements((corruption.model_dump(),), limit, str(folder))
    return MeasurementDataset(FastMRIHDF5(path), corruption.build(), 0, CALIBRATION, 0, store)


def files(folder):
    return sorted((folder / "prepared").rglob("*.safetensors"))


def never(*_, **__):
    pytest.fail("prepared a second time")


@pytest.mark.parametrize("more", PATTERNS)
def test_the_second_reading_comes_from_the_store_with_the_same_bits(scans, tmp_path, monkeypatch, more):
    fresh = [opened(scans, tmp_path, **more)[index] for index in range(3)]
    assert len(files(tmp_path)) == 3
    monkeypatch.setattr(MeasurementDataset, "_measure", never)
    dataset = opened(scans, tmp_path, **more)
    for index in (2, 0, 1):
        stored = dataset[index]
        assert same(stored, fresh[index])
        assert torch.equal(stored.acquired, fresh[index].acquired)
        image = stored.data.clone()  # a batch may be written to, the file may not
        stored.data.zero_()
        stored.operator.maps.zero_()
        assert torch.equal(dataset[index].data, image)


def test_only_what_was_sampled_is_stored(scans, tmp_path):
    measurement = opened(scans, tmp_path, acceleration=3)[0]
    size = files(tmp_path)[0].stat().st_size
    assert size < (1 + 1 / 3) * measurement.operator.maps.nbytes + 1000


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other"])
def test_a_damaged_file_is_made_again(scans, tmp_path, damage):
    fresh = opened(scans, tmp_path)[1]
    [path] = files(tmp_path)
    content = bytearray(path.read_bytes())
    content[-999] ^= 4
    damaged = {"cut": content[:-500], "empty": b"", "flipped": content, "other": b"no tensors here" * 99}[damage]
    path.write_bytes(damaged)
    assert same(opened(scans, tmp_path)[1], fresh)
    assert path.read_bytes() != damaged


def test_everything_that_a_measurement_depends_on_is_part_of_its_key(scans, tmp_path):
    first = opened(scans, tmp_path)[0]
    assert not same(first, opened(scans, tmp_path, sigma=0.1)[0])
    with h5py.File(scans, "r+") as file:
        file["kspace"][0] *= 2
    assert not same(first, opened(scans, tmp_path)[0])
    assert len(files(tmp_path)) == 3


def test_a_full_disk_ends_nothing(scans, tmp_path, monkeypatch, caplog):
    fresh = [opened(scans, tmp_path / "a")[index] for index in range(2)]
    monkeypatch.setattr("safetensors.torch.save_file", lambda *_: (_ for _ in ()).throw(OSError(28, "no space left")))
    dataset = opened(scans, tmp_path / "b")
    assert all(same(dataset[index], fresh[index]) for index in range(2))
    assert caplog.text.count("cannot be stored") == 1
    assert not files(tmp_path / "b")


def test_room_is_made_by_removing_what_nobody_uses_and_never_beyond_the_limit(scans, tmp_path):
    old = opened(scans, tmp_path, acceleration=1.5)
    assert old[0] is not None
    [path] = files(tmp_path)
    limit = int(2.5 * path.stat().st_size)
    dataset = opened(scans, tmp_path, limit)
    measured = [dataset[index] for index in range(3)]
    assert path in files(tmp_path)  # in use today
    assert len(files(tmp_path)) == 2
    os.utime(path.parent, (0, 0))
    assert all(same(dataset[index], measured[index]) for index in range(3))
    assert path not in files(tmp_path)
    assert sum(file.stat().st_size for file in files(tmp_path)) <= limit
    shutil.rmtree(tmp_path / "prepared")
    assert same(dataset[0], measured[0])


def test_little_things_and_a_disk_with_little_room_are_left_alone(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "RESERVE_BYTES", 1 << 60)
    assert opened(scans, tmp_path)[0] is not None
    monkeypatch.undo()
    assert opened(scans, tmp_path)[0] is not None
    assert not files(tmp_path)


def test_simulated_scans_are_not_stored(tmp_path):
    store = PreparedMeasurements((), 1 << 30, str(tmp_path))
    corruption = MultiCoilFourierSettings(acceleration=2, acs_lines=8).build()
    dataset = MeasurementDataset(knees(), corruption, 0, CALIBRATION, 0, store)
    assert same(dataset[0], dataset[0])
    assert not dataset.reads_files
    assert not (tmp_path / "prepared").exists()
