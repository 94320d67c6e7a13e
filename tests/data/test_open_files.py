"""Files kept open: bounded, never stale, never shared between processes."""

import os
import pickle
import threading

import h5py
import numpy as np
import pytest

from rsd_med.base.errors import DataError
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.open_files import OpenFiles

from .conftest import complex_noise


def shape_of(file):
    return file["kspace"].shape, file


def open_handles():
    return h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE)


def test_a_file_is_opened_once_and_only_so_many_stay_open(write_file):
    paths = [write_file(name) for name in "abc"]
    files = OpenFiles(shape_of, limit=2)
    before = open_handles()
    seen = []
    for path in (*paths, paths[2], paths[0]):
        with files.reading(path) as (_, file):
            seen.append(file)
        assert open_handles() - before <= 2
    assert seen[2] is seen[3]  # the second time it was still open
    assert not seen[0]  # closed to make room: an h5py.File is false then
    assert seen[4]


def test_a_file_that_vanished_is_reported_and_let_go(write_file):
    path = write_file()
    files = OpenFiles(shape_of)
    with files.reading(path) as (_, file):
        pass
    path.unlink()
    with pytest.raises(DataError, match=r"scan\.h5.*no such file any more"), files.reading(path):
        pass
    assert not file


def test_a_vanished_file_ends_a_source_with_a_sentence_that_names_it(write_file):
    source = FastMRIHDF5(write_file())
    source[0]
    os.unlink(source._items[0][0].path)
    with pytest.raises(DataError, match=r"scan\.h5"):
        source[1]


def test_a_replaced_file_is_checked_anew(write_file, tmp_path):
    path = write_file()
    files = OpenFiles(shape_of)
    with files.reading(path) as (shape, _):
        assert shape == (3, 2, 16, 12)
    other = write_file("other", kspace=complex_noise(1, 2, 8, 8))
    os.replace(other, path)
    with files.reading(path) as (shape, _):
        assert shape == (1, 2, 8, 8)


def test_what_could_not_be_read_is_opened_anew(write_file):
    path = write_file()
    files = OpenFiles(shape_of)
    with pytest.raises(DataError), files.reading(path) as (_, first):
        raise DataError("broken")
    with files.reading(path) as (_, second):
        assert second is not first


def test_nothing_open_crosses_into_a_forked_process_even_while_a_thread_reads(write_file):
    """A lock held by a thread of the parent would never be released in the child."""
    source = FastMRIHDF5(write_file())
    expected = source[0].kspace.numpy()
    reading, forked = threading.Event(), threading.Event()

    def hold():
        with source._open.reading(source._items[0][0].path):
            reading.set()
            forked.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    reading.wait(30)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(source[0].kspace.numpy(), expected) else 1)
    forked.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(source[0].kspace.numpy(), expected)


def test_a_copy_for_another_process_starts_empty(write_file):
    path = write_file()
    files = OpenFiles(shape_of, limit=5)
    with files.reading(path):
        before = open_handles()
    again = pickle.loads(pickle.dumps(files))
    assert again.limit == 5
    with again.reading(path):
        assert open_handles() == before + 1
