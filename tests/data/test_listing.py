"""Which files of a folder are data."""

import os
from pathlib import Path

import pytest

from rsd_med.base.errors import DataError
from rsd_med.data.listing import files_below


@pytest.fixture
def folder(tmp_path):
    names = "b.h5 a/c.h5 a-b.h5 ._b.h5 .DS_Store a/.DS_Store .Trashes/501/b.h5 __MACOSX/._b.h5 a/__MACOSX/b.h5 .git/x"
    for name in names.split():
        (tmp_path / ".root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".root" / name).write_bytes(b"x")
    return tmp_path / ".root"  # the user named this one


def test_what_macos_and_others_hide_is_no_data(folder):
    assert [path.relative_to(folder).as_posix() for path in files_below(folder)] == ["a-b.h5", "a/c.h5", "b.h5"]
    assert [path.name for path in files_below(folder, deep=False)] == ["a-b.h5", "b.h5"]


def test_links_to_files_are_followed_and_what_is_no_file_is_not_listed(folder):
    (folder / "link.h5").symlink_to(folder / "b.h5")
    (folder / "nowhere.h5").symlink_to(folder / "gone.h5")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe.h5")
    assert [path.name for path in files_below(folder)] == ["a-b.h5", "c.h5", "b.h5", "link.h5"]


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_that_cannot_be_read_is_no_empty_folder(folder, monkeypatch, named):
    def scandir(path, listed=os.scandir):
        if str(path).endswith("a"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)  # tests may run as root, whom nothing is forbidden
    with pytest.raises(DataError, match="The folder a cannot" if named else "A folder of the data cannot"):
        files_below(folder, named=named)


def test_a_folder_that_may_not_be_entered_is_no_empty_folder(folder, monkeypatch):
    def stat(path, *, follow_symlinks=True, stated=Path.stat):
        if path.parent.name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return stated(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(DataError, match="The folder a cannot be read"):
        files_below(folder)
