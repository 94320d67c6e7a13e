from pathlib import Path

import pytest

from rsd_med.base.errors import DataError
from rsd_med.data.paths import resolve_root


def test_relative_paths_are_relative_to_the_protocol(tmp_path):
    assert resolve_root("knees/train", tmp_path) == tmp_path / "knees" / "train"
    assert resolve_root("../knees", tmp_path / "protocols") == tmp_path / "knees"


def test_absolute_paths_stay(tmp_path):
    assert resolve_root(str(tmp_path), Path("/elsewhere")) == tmp_path


@pytest.mark.parametrize("text", ["${DATA_HERE}/knees", "$DATA_HERE/knees"])
def test_the_environment_is_expanded(monkeypatch, tmp_path, text):
    monkeypatch.setenv("DATA_HERE", str(tmp_path))
    assert resolve_root(text, Path("/elsewhere")) == tmp_path / "knees"


def test_the_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_root("~/knees") == tmp_path / "knees"


@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_variable_is_explained(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("FASTMRI_ROOT", raising=False)
    else:
        monkeypatch.setenv("FASTMRI_ROOT", value)
    with pytest.raises(DataError, match=r"FASTMRI_ROOT, which is not set: .*export FASTMRI_ROOT="):
        resolve_root("${FASTMRI_ROOT}/multicoil_train")


def test_an_empty_root_is_refused():
    with pytest.raises(DataError, match="empty"):
        resolve_root("  ")


def test_a_folder_that_may_not_be_entered_is_named_as_such(monkeypatch, tmp_path):
    def refuse(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(DataError, match="may not be entered"):
        resolve_root("locked/scans", tmp_path)
