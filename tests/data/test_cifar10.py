import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.data import cifar10
from rsd_med.data.cifar10 import FOLDER, RECORD, Cifar10Settings


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive: 20 images a file instead of 10,000."""
    monkeypatch.setattr(cifar10, "IMAGES_PER_FILE", 20)
    folder = tmp_path / FOLDER
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]:
        records = generator.integers(0, 256, (20, RECORD)).astype(np.uint8)
        records[:, 0] %= 10
        records.tofile(folder / name)
    return tmp_path


def build(root, **settings):
    return Cifar10Settings(root=str(root), **settings).build()


def test_both_splits_are_read_from_either_folder(archive):
    train, test = build(archive), build(archive / FOLDER, split="test")
    assert (len(train), len(test)) == (100, 20)
    records = np.fromfile(archive / FOLDER / "data_batch_3.bin", np.uint8).reshape(20, RECORD)
    picture = train[45]
    assert picture.id == train.id(45) == "cifar10_train_00045"
    assert picture.image.dtype == torch.float32
    assert picture.image.shape == train.shape(45) == (3, 32, 32)
    assert np.allclose((picture.image.numpy() + 1) * 127.5, records[5, 1:].reshape(3, 32, 32), atol=1e-4)
    assert len(build(archive, limit=7)) == 7
    with pytest.raises(IndexError):
        train[100]


def test_the_real_sizes_are_those_of_the_archive():
    assert cifar10.IMAGES_PER_FILE * RECORD == 30_730_000


def test_a_missing_archive_is_explained(tmp_path):
    with pytest.raises(DataError, match=r"data_batch_1\.bin is not in .*unpack cifar-10-binary\.tar\.gz"):
        build(tmp_path)


def test_a_file_of_another_size_is_refused(archive):
    path = archive / FOLDER / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_2\.bin has \d+ bytes instead of"):
        build(archive)


def test_an_impossible_label_shows_damage(archive):
    path = archive / FOLDER / "test_batch.bin"
    path.write_bytes(bytes([77]) + path.read_bytes()[1:])
    with pytest.raises(DataError, match="damaged at image 0"):
        build(archive, split="test")[0]
