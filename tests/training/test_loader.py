"""Reading ahead: the same batches in the same order, errors told as they are, a dead reader noticed."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rsd_med.base.errors import DataError, InterruptedRunError
from rsd_med.runs.distribution import Distribution
from rsd_med.training.batches import BatchOrder
from rsd_med.training.loader import MOST_READERS, read_batches, reader_count
from rsd_med.training.sending import one_ahead
from tests.training.toys import Kept, scans


class Fragile(Kept):
    """Item 5 is damaged; item 6 takes its process along."""

    def __getitem__(self, index):
        if index == 5:
            raise DataError("item 5 is damaged.")
        if index == 6:
            os._exit(9)
        return super().__getitem__(index)


class InTurn:
    """Batches of two, by number."""

    def __getitem__(self, number):
        return [2 * number % 8, 2 * number % 8 + 1]


class Second(Distribution):
    rank, world_size = 1, 2


def test_readers_change_neither_batches_nor_order():
    data = Kept(scans(8))
    order = BatchOrder(data.groups(), 4, 0, "teacher/order")
    before = torch.random.get_rng_state()
    given = [
        list(read_batches(data, order, Second().share, range(first, 7), torch.device("cpu"), workers))
        for first, workers in ((0, 0), (3, 0), (3, 2))
    ]
    assert torch.equal(before, torch.random.get_rng_state())
    straight, *later = given
    assert [len(batches) for batches in given] == [7, 4, 4]
    for batches in later:
        for one, other in zip(straight[3:], batches, strict=True):
            assert one.ids == other.ids
            assert len(one) == 2  # this rank's share
            assert torch.equal(one.data, other.data)
            assert torch.equal(one.operator.maps, other.operator.maps)
            assert torch.equal(one.operator.mask, other.operator.mask)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_goes_wrong_in_a_reader_is_one_sentence():
    read = read_batches(Fragile(scans(8)), InTurn(), list, range(1, 3), torch.device("cpu"), workers=1)
    assert next(read).ids == ("scan 2", "scan 3")
    with pytest.raises(DataError, match=r"^item 5 is damaged\.$"):
        next(read)
    read = read_batches(Fragile(scans(8)), InTurn(), list, range(3, 4), torch.device("cpu"), workers=1)
    with pytest.raises(InterruptedRunError, match="a process that reads data has ended") as caught:
        next(read)
    assert caught.value.exit_code == 75


LEFT = """
import torch
from rsd_med.training.loader import read_batches
from tests.training.test_loader import InTurn
from tests.training.toys import Kept, scans

if __name__ == "__main__":
    read = read_batches(Kept(scans(8)), InTurn(), list, range(3), torch.device("cpu"), workers=1)
    print(next(read).ids)
"""


def test_a_process_whose_readers_are_left_over_ends_all_the_same(tmp_path):
    """As after an error whose traceback is still held: Python would wait for readers that ignore its SIGTERM."""
    script = tmp_path / "left.py"
    script.write_text(LEFT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "('scan 0', 'scan 1')\n"), ended.stderr


def test_as_many_readers_as_there_are_cores_to_spare_where_a_gpu_would_wait(monkeypatch):
    files, memory = SimpleNamespace(reads_files=True), SimpleNamespace(reads_files=False)
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    for cores, ranks, readers in ((1, 1, 0), (2, 1, 1), (6, 2, 2), (64, 1, MOST_READERS)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
        assert reader_count("auto", files, gpu) == readers
        assert reader_count("auto", files, cpu) == reader_count("auto", memory, gpu) == 0
        assert reader_count(3, memory, cpu) == 3


def test_the_next_batch_is_on_its_way_when_one_is_handed_out():
    sent = []
    batches = one_ahead(range(4), lambda item: sent.append(item) or 10 * item)
    assert [(next(batches), max(sent)) for _ in range(4)] == [(0, 1), (10, 2), (20, 3), (30, 3)]
    assert list(batches) == list(one_ahead([], str)) == []
