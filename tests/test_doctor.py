"""The doctor: one line for each check, what to do where one fails, and the exit code."""

import sys

import pytest

from rsd_med import doctor


def test_this_machine_is_fit(capsys, tmp_path):
    assert doctor.main(["--runs", str(tmp_path / "not" / "there" / "yet")]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line[6:].split(":")[0] for line in lines]
    assert names == ["python", "torch", "device", "precision", "runs folder", "memory", "disk"]
    assert all(line.startswith("ok") for line in lines)
    assert not (tmp_path / "not").exists()


def test_a_mixed_pair_is_named_and_the_rest_still_checked(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # makes `import torchvision` fail
    assert doctor.main(["--runs", str(tmp_path)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("MEND  torch: torch and torchvision do not import as a pair")
    assert lines[1].endswith("make install")
    assert [line[6:].split(":")[0] for line in lines] == ["python", "torch", "runs folder", "memory", "disk"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    finding = doctor.check_runs_folder(blocked / "runs")
    assert not finding.good
    assert "cannot be written" in finding.what
    assert "--run-dir" in finding.mend


@pytest.mark.parametrize("check", ["memory", "disk"])
def test_too_little_is_named(check, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, f"LEAST_{check.upper()}_GIB", 1e9)
    finding = doctor.check_memory() if check == "memory" else doctor.check_disk(tmp_path)
    assert not finding.good
    assert "needed" in finding.mend
