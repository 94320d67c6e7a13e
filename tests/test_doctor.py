"""The doctor: one line for each check, what to do where one fails, and the exit code."""

import sys
from pathlib import Path

import pytest

from rsd_med import doctor
from rsd_med.protocol import load_protocol


def test_this_machine_is_fit(capsys, tmp_path):
    assert doctor.main(["--runs", str(tmp_path / "not" / "there" / "yet")]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line[6:].split(":")[0] for line in lines]
    assert names == ["python", "torch", "device", "precision", "threads", "runs folder", "memory", "disk"]
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


def test_a_container_counts_not_the_machine_around_it(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "CONTROL_GROUP", tmp_path)
    free = doctor.usable_cores(), doctor.usable_memory_gib()
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert (doctor.usable_cores(), doctor.usable_memory_gib()) == free
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    assert (doctor.usable_cores(), doctor.usable_memory_gib()) == (1, 1.0)
    assert not doctor.check_memory().good


def test_more_threads_than_cores_are_named(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    monkeypatch.setattr(doctor, "usable_cores", lambda: 2)
    finding = doctor.check_threads()
    assert not finding.good
    assert finding.mend.endswith("OMP_NUM_THREADS=2")


def test_an_old_torch_is_named(monkeypatch):
    monkeypatch.setattr("torch.__version__", "2.9.1+cpu")
    finding = doctor.check_torch()
    assert not finding.good
    assert "2.9.1" in finding.what


def test_a_protocol_that_does_not_fit_is_told_apart_from_one_that_does(monkeypatch, tmp_path, capsys):
    quickstart = str(Path(__file__).parents[1] / "protocols" / "quickstart.yaml")
    monkeypatch.setattr(doctor, "usable_memory_gib", lambda: 8.0)
    assert doctor.main([quickstart, "--runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("ok    memory for quickstart")
    assert lines[-1].startswith("ok    disk for quickstart")
    monkeypatch.setattr(doctor, "usable_memory_gib", lambda: 4.5)
    assert doctor.main([quickstart, "--runs", str(tmp_path)]) == 2
    assert "lower engine.cache_gib" in capsys.readouterr().out
    protocol = load_protocol(quickstart)
    monkeypatch.setattr(doctor, "_network_gib", lambda protocol: 1e4)
    assert "keep_checkpoints" in doctor.check_disk_for(protocol, tmp_path).mend
    assert "channels" in doctor.check_memory_for(protocol).mend


def test_the_size_of_a_network_is_that_of_its_weights():
    from rsd_med.diffusion.backbones import count_parameters

    protocol = load_protocol(Path(__file__).parents[1] / "protocols" / "quickstart.yaml")
    expected = count_parameters(protocol.backbone.build(3, 2)) * 4 / 2**30
    assert doctor._network_gib(protocol) == expected


@pytest.mark.parametrize("check", ["memory", "disk"])
def test_too_little_is_named(check, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, f"LEAST_{check.upper()}_GIB", 1e9)
    finding = doctor.check_memory() if check == "memory" else doctor.check_disk(tmp_path)
    assert not finding.good
    assert "needed" in finding.mend
