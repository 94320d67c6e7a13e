"""Files and folders are whole or not there, and as open as the umask says."""

import errno
import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from rsd_med.base.files import folder_written_aside, remove_abandoned, write_text, written_aside


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_folder(path, name):
    with folder_written_aside(path, durable=True) as side:
        (side / name).touch()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077])
def umask(request):
    former = os.umask(request.param)
    yield request.param
    os.umask(former)


def test_everybody_may_read_whom_the_umask_lets(tmp_path, umask):
    """The library safetensors makes files that only their owner can read."""
    with written_aside(tmp_path / "weights.safetensors") as side:
        save_file({"weight": torch.zeros(2)}, side)
    with folder_written_aside(tmp_path / "folder") as side:
        save_file({"weight": torch.zeros(2)}, side / "weights.safetensors")
    write_text(tmp_path / "text", "text")
    for file in ("weights.safetensors", "folder/weights.safetensors", "text"):
        assert mode(tmp_path / file) == 0o666 & ~umask
    assert mode(tmp_path / "folder") == 0o777 & ~umask


def test_a_private_file_is_nobody_elses(tmp_path):
    path = tmp_path / "users"
    write_text(path, "before")
    write_text(path, "after", private=True)
    assert mode(path) == 0o600
    assert path.read_text() == "after"


def test_line_ends_stay_as_given(tmp_path):
    write_text(tmp_path / "table.csv", "a\r\nµ\n")
    assert (tmp_path / "table.csv").read_bytes() == "a\r\nµ\n".encode()


@pytest.mark.parametrize("where", ["os.fsync", "os.replace"])
def test_what_cannot_be_written_leaves_the_former(tmp_path, monkeypatch, where):
    write_text(tmp_path / "file", "before")
    write_folder(tmp_path / "folder", "old")
    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        with pytest.raises(OSError, match="No space left"):
            write_text(tmp_path / "file", "after")
        with pytest.raises(OSError, match="No space left"):
            write_folder(tmp_path / "folder", "new")
    assert (tmp_path / "file").read_text() == "before"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "old"]
    write_folder(tmp_path / "folder", "new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "new"]


def test_a_folder_that_cannot_take_the_others_place_leaves_it_there(tmp_path, monkeypatch):
    write_folder(tmp_path / "folder", "old")
    original, calls = os.replace, []

    def full_at_the_second_time(*paths):
        calls.append(paths)
        return full() if len(calls) == 2 else original(*paths)

    monkeypatch.setattr(os, "replace", full_at_the_second_time)
    with pytest.raises(OSError, match="No space left"):
        write_folder(tmp_path / "folder", "new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "old"]


def test_a_folder_that_was_abandoned_goes_and_one_that_is_being_written_stays(tmp_path):
    others = [".writing-01234567-other", ".writing-01234567-my folder"]
    for name in (".writing-01234567-folder", *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    with folder_written_aside(tmp_path / "folder") as side:
        (side / "whole").touch()
        remove_abandoned(tmp_path / "folder")
        assert {path.name for path in tmp_path.iterdir()} == {side.name, *others}
    assert {path.name for path in tmp_path.iterdir()} == {"folder", *others}
    remove_abandoned(tmp_path / "folder")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["whole"]
