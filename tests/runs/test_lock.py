"""One process at a time in a run folder, and never a lock left behind."""

import os
import signal

import pytest

from rsd_med.base.errors import ProtocolError
from rsd_med.runs.lock import FolderLock
from tests.training.toys import run_folder


def test_a_second_run_on_a_folder_is_refused_with_the_number_of_the_first(tmp_path):
    first, second = run_folder(tmp_path), run_folder(tmp_path)
    first.create("a: 1\n", "a: 1\n", 0, tmp_path)
    with pytest.raises(ProtocolError, match=f"process {os.getpid()} is working") as caught:
        second.create("b: 2\n", "b: 2\n", 0, tmp_path)
    assert caught.value.exit_code == 2
    assert "--run-dir" in str(caught.value)
    assert first.protocol.read_text() == "a: 1\n"  # untouched
    first.lock.release()
    second.create("b: 2\n", "b: 2\n", 0, tmp_path)
    second.lock.release()


def test_a_lock_dies_with_its_process(tmp_path):
    lock = FolderLock(tmp_path)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        FolderLock(tmp_path).acquire()  # dropped at once
        held = FolderLock(tmp_path)
        held.acquire()
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    with pytest.raises(ProtocolError, match=f"process {child}"):
        lock.acquire()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    lock.acquire()
    lock.release()
    os.close(reader)
    os.close(writer)


def test_locking_twice_is_once_and_a_folder_not_yet_there_is_not_made(tmp_path):
    missing = FolderLock(tmp_path / "none")
    missing.acquire()
    assert not (tmp_path / "none").exists()
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.acquire()
    lock.release()
    lock.release()
