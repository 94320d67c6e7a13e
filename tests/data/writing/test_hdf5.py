"""HDF5 files on a disk that has no room for them."""

import errno
import subprocess
import sys

import h5py
import numpy as np
import pytest

from rsd_med.data.writing.hdf5 import written_hdf5

FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from rsd_med.data.writing.hdf5 import written_hdf5
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    with written_hdf5(Path(sys.argv[1])) as file:
        for number in range(5):
            file[f"group/{number}"] = np.zeros((number + 1) * 1_000)
except OSError as error:
    print(error.errno)
"""


def test_what_is_written_is_read(tmp_path):
    with written_hdf5(tmp_path / "a.h5") as file:
        file["values"] = np.arange(5)
        file.attrs["note"] = "n"
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["values"][()].tolist() == [0, 1, 2, 3, 4]
        assert file.attrs["note"] == "n"


@pytest.mark.skipif(sys.platform == "win32", reason="no limits for a process")
def test_a_process_outlives_a_file_that_could_not_be_written(tmp_path):
    """Without the keeper of refusals, HDF5 ends it with a segmentation fault after the last line."""
    ended = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "a.h5")], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, str(errno.EFBIG), "")
    assert list(tmp_path.iterdir()) == []
