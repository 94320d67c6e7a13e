"""Checkpoints: whole or not there, and every damage is found."""

import errno
import json
import os
import shutil
import signal

import pytest
import torch
from torch import nn

from rsd_med.base.errors import DataError, DivergedError
from rsd_med.runs import checkpoints
from rsd_med.runs.checkpoints import CheckpointStore, verify
from rsd_med.training.loop import resume
from tests.training.toys import CountingStage

FILES = ("teacher.safetensors", "state.pt", "manifest.json")


def stage(seed=0, name="teacher"):
    """A stage whose optimiser has a state to keep."""
    torch.manual_seed(seed)
    made = CountingStage(100, 10)
    made.name = name
    made.network(torch.ones(1, 1)).sum().backward()
    made.optimiser.step()
    made.optimiser.zero_grad()
    return made


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints", keep=2)


def names(store):
    return sorted(path.name for path in store.folder.iterdir())


def test_what_is_saved_comes_back(store):
    saved = stage(1)
    folder = store.save(saved, 40, 140, finished=False)
    assert folder.name == "0000000140"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    checkpoint, warnings = store.newest()
    assert not warnings
    assert (checkpoint.stage, checkpoint.images, checkpoint.finished) == ("teacher", 40, False)
    other = stage(2)
    other.extra = {}
    assert resume(other, checkpoint) == 40
    assert torch.equal(other.network.weight, saved.network.weight)
    assert other.extra == {"note": 7}
    states = [one.optimiser.state_dict()["state"] for one in (other, saved)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][0][name], states[1][0][name]) for name in states[0][0])


def test_an_empty_store_has_nothing(store):
    assert store.newest() == (None, [])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "emptied", "removed"])
def test_damage_to_any_file_is_found_and_the_one_before_is_used(store, name, damage):
    store.save(stage(), 10, 10, finished=False)
    path = store.save(stage(), 20, 20, finished=False) / name
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "flipped":
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "cut":
        path.write_bytes(content[:-1] if name != "manifest.json" else content[:-20])
    elif damage == "longer":
        path.write_bytes(content + b"x")
    elif damage == "emptied":
        path.write_bytes(b"")
    else:
        path.unlink()
    checkpoint, warnings = store.newest()
    assert checkpoint.images == 10
    assert len(warnings) == 1
    assert "0000000020" in warnings[0]
    assert name in warnings[0] or "manifest" in warnings[0]
    with pytest.raises(DataError):
        verify(path.parent)


def test_no_byte_of_a_manifest_can_change_unnoticed(store):
    """The count of images, the stage and the end mark are facts too: whichever byte has a flipped bit."""
    path = store.save(stage(), 10, 10, finished=False) / "manifest.json"
    content = path.read_bytes()
    assert verify(path.parent).images == 10
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DataError):
            verify(path.parent)


@pytest.mark.parametrize("content", ["[]", "3", "null", '{"format": 1}', '{"format": 1, "stage": "teacher"}'])
def test_another_file_in_the_place_of_a_manifest_is_no_manifest(store, content):
    path = store.save(stage(), 10, 10, finished=False) / "manifest.json"
    path.write_text(content)
    with pytest.raises(DataError, match="no readable manifest"):
        verify(path.parent)


def test_another_format_is_refused(store):
    path = store.save(stage(), 10, 10, finished=False) / "manifest.json"
    facts = {name: value for name, value in json.loads(path.read_text()).items() if name != "seal"}
    path.write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(DataError, match="format 1"):
        verify(path.parent)


def test_unfinished_ones_are_rotated_and_finished_ones_stay(store):
    store.save(stage(), 10, 10, finished=True)
    for images in (20, 30, 40, 50):
        store.save(stage(name="student"), images, images, finished=False)
    assert names(store) == ["0000000010", "0000000040", "0000000050"]
    store.save(stage(name="student"), 60, 60, finished=True)
    assert names(store) == ["0000000010", "0000000040", "0000000050", "0000000060"]
    assert store.newest()[0].images == 60
    assert store.newest("teacher")[0].images == 10
    assert store.newest("student")[0].finished


def test_a_damaged_one_does_not_count_as_kept(store):
    """Two damaged ones must not push the last good one out."""
    store.save(stage(), 10, 10, finished=False)
    for images in (20, 30):
        damaged = store.save(stage(), images, images, finished=False) / "state.pt"
        damaged.write_bytes(damaged.read_bytes()[:-1])
    store.save(stage(), 40, 40, finished=False)
    assert names(store) == ["0000000010", "0000000020", "0000000030", "0000000040"]
    store.save(stage(), 50, 50, finished=False)
    assert names(store) == ["0000000040", "0000000050"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["weights", "optimiser"])
def test_numbers_that_are_not_finite_are_never_saved(store, number, where):
    store.save(stage(), 10, 10, finished=False)
    broken = stage()
    with torch.no_grad():
        if where == "weights":
            broken.network.bias.fill_(number)
        else:
            broken.optimiser.state[broken.network.weight]["exp_avg_sq"].fill_(number)
    with pytest.raises(DivergedError, match="last good checkpoint is kept"):
        store.save(broken, 20, 20, finished=False)
    assert names(store) == ["0000000010"]
    assert store.newest()[0].images == 10


def test_a_process_killed_anywhere_while_saving_leaves_a_whole_checkpoint(store, tmp_path):
    """Every call to the system that changes the folder is, once, the last thing that a process does."""
    store.save(stage(1), 10, 10, finished=False)
    store.save(stage(1), 20, 20, finished=False)
    calls = ("replace", "fsync", "chmod", "mkdir", "rmdir", "unlink")
    left = 1
    for place in range(200):
        folder = tmp_path / f"copy{place}"
        shutil.copytree(store.folder, folder)
        child = os.fork()
        if child == 0:
            die_after(place, calls)
            CheckpointStore(folder, keep=1).save(stage(2), 20, 20, finished=False)
            os._exit(0)
        left = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        checkpoint, warnings = CheckpointStore(folder).newest()
        assert checkpoint is not None
        assert not warnings  # not even half of one that was to be removed
        if left == 0:
            break
    assert place > 5
    assert left == 0


def die_after(count, calls):
    """Let this process end without a word at the given one of these calls."""
    remaining = [count]
    for name in calls:
        original = getattr(os, name)

        def counted(*args, original=original, **kwargs):
            if remaining[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            remaining[0] -= 1
            return original(*args, **kwargs)

        setattr(os, name, counted)


def test_a_disk_that_cannot_be_read_any_more_counts_as_damage(store, monkeypatch):
    store.save(stage(), 10, 10, finished=False)
    store.save(stage(), 20, 20, finished=False)
    original = checkpoints._fingerprint

    def broken(path):
        if path.parent.name.endswith("20"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(path)

    monkeypatch.setattr(checkpoints, "_fingerprint", broken)
    checkpoint, warnings = store.newest()
    assert checkpoint.images == 10
    assert "input/output error" in warnings[0]


def test_a_state_that_would_run_code_is_refused(store, tmp_path):
    folder = store.save(stage(), 10, 10, finished=False)
    trap = tmp_path / "trap"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    torch.save({"optimisers": Trap(), "extra": {}}, folder / "state.pt")
    reseal(folder)
    with pytest.raises(DataError, match=r"state\.pt"):
        verify(folder).load_state()
    assert not trap.exists()


def test_a_manifest_cannot_point_out_of_its_folder(store):
    folder = store.save(stage(), 10, 10, finished=False)
    (folder.parent / "elsewhere.pt").write_bytes((folder / "state.pt").read_bytes())
    (folder / "state.pt").unlink()
    reseal(folder, {"../elsewhere.pt": folder.parent / "elsewhere.pt"})
    with pytest.raises(DataError, match="elsewhere"):
        verify(folder)


def reseal(folder, others=None):
    """Give a forged checkpoint a manifest that fits."""
    files = {path.name: path for path in folder.iterdir() if path.name != "manifest.json"} | (others or {})
    facts = json.loads((folder / "manifest.json").read_text())
    facts = {name: value for name, value in facts.items() if name != "seal"}
    facts["files"] = {name: checkpoints._fingerprint(path) for name, path in files.items()}
    (folder / "manifest.json").write_text(json.dumps(facts | {"seal": checkpoints._seal(facts)}))


def test_side_folders_of_a_killed_run_are_swept(store):
    stale = store.folder / ".writing-abcdef"
    stale.mkdir(parents=True)
    (stale / "teacher.safetensors").write_bytes(b"half")
    assert store.newest() == (None, [])
    store.save(stage(), 10, 10, finished=False)
    assert names(store) == ["0000000010"]


def test_the_same_count_is_written_anew(store):
    store.save(stage(1), 10, 10, finished=False)
    again = stage(2)
    store.save(again, 10, 10, finished=True)
    checkpoint, _ = store.newest()
    assert checkpoint.finished
    network = nn.Linear(1, 1)
    checkpoint.load_network("teacher", network)
    assert torch.equal(network.weight, again.network.weight)


@pytest.mark.parametrize("where", ["safetensors.torch.save_file", "torch.save", "os.fsync", "os.replace"])
def test_a_full_disk_leaves_nothing_half_written(store, monkeypatch, where):
    store.save(stage(), 10, 10, finished=False)
    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        with pytest.raises(OSError, match="No space left"):
            store.save(stage(), 20, 20, finished=False)
    assert {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()} == before
    assert names(store) == ["0000000010"]
    assert store.newest()[0].images == 10
    store.save(stage(), 20, 20, finished=False)
    assert store.newest()[0].images == 20


def test_weights_that_do_not_fit_are_refused_with_a_sentence(store):
    store.save(stage(), 10, 10, finished=False)
    checkpoint, _ = store.newest()
    with pytest.raises(DataError, match="was the protocol changed"):
        checkpoint.load_network("teacher", nn.Linear(2, 3))
    with pytest.raises(DataError, match="student"):
        checkpoint.load_network("student", nn.Linear(1, 1))


def test_a_copied_checkpoint_is_still_whole(store, tmp_path):
    folder = store.save(stage(), 10, 10, finished=True)
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert verify(tmp_path / "elsewhere").images == 10
