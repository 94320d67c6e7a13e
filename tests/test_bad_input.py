"""Whatever is wrong with protocol or data: one sentence, the right exit code, and nothing left behind."""

import errno
from pathlib import Path

import h5py
import numpy as np
import pytest

from rsd_med.base.command import run_command
from rsd_med.runs import checkpoints
from rsd_med.train import main

PROTOCOL = """
schema_version: 1
name: bad
data: {data}
corruption: {corruption}
backbone: {{kind: monai_unet, channels: [8, 8], attention: [false, false]}}
teacher: {{objective: {{kind: {objective}}}, images: 16, batch_size: 8, evaluate_samples: 8}}
student: {{images: 8, batch_size: 8, evaluate_samples: 8}}
evaluation: {{num_samples: 8, monitor_images: 8, samplers: [{{kind: heun, steps: 2}}]}}
engine: {{device: cpu}}
"""
KNEES = "{kind: knee_phantom, num_images: 8, size: 16, coils: 2, supersample: 1}"
FOURIER = "{kind: multicoil_fourier, acceleration: 2, acs_lines: 2, further_lines: 2}"


def attempt(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
    data: str = KNEES,
    corruption: str = FOURIER,
    objective: str = "ambient_fourier",
) -> tuple[int, str]:
    """Run ``rsd_med.train``; return exit code and message, and hold both to the rules for every failure."""
    protocol = tmp_path / "bad.yaml"
    protocol.write_text(PROTOCOL.format(data=data, corruption=corruption, objective=objective))
    code = run_command(lambda: main([str(protocol), "--run-dir", str(tmp_path / "run"), "--quiet", *arguments]))
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert str(tmp_path) not in message.replace(str(tmp_path / "run"), "")
    return code, message


def nothing_left(tmp_path: Path) -> bool:
    return not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("student.los.alpha=1", ["los", "did you mean", "loss"]),
        ("student.loss.alpha=much", ["student.loss.alpha", "much"]),
        ("teacher.images=-5", ["teacher.images", "-5"]),
        ("corruption.acceleration=0.5", ["corruption.acceleration", "0.5"]),
        ("corruption.kind=fog", ["corruption", "multicoil_fourier"]),
    ],
)
def test_a_wrong_protocol(tmp_path, capsys, setting, words):
    code, message = attempt(tmp_path, capsys, "--set", setting)
    assert code == 2
    assert all(word in message for word in words), message
    assert nothing_left(tmp_path)


def test_sigma_must_be_positive(tmp_path, capsys):
    corruption, objective = "{kind: noise, sigma: 0}", "ambient_tweedie"
    code, message = attempt(tmp_path, capsys, corruption=corruption, objective=objective)
    assert code == 2
    assert "corruption.sigma" in message
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("acs_lines", [9, 17])
def test_more_acs_lines_than_there_is_room_for(tmp_path, capsys, acs_lines):
    code, message = attempt(tmp_path, capsys, "--set", f"corruption.acs_lines={acs_lines}")
    assert code == 2
    assert "corruption.acs_lines" in message
    assert nothing_left(tmp_path)


def test_a_missing_protocol(tmp_path, capsys):
    assert run_command(lambda: main([str(tmp_path / "none.yaml")])) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_an_objective_that_does_not_fit_the_corruption(tmp_path, capsys):
    code, message = attempt(tmp_path, capsys, objective="ambient_tweedie")
    assert code == 2
    assert "teacher.objective" in message
    assert nothing_left(tmp_path)


def scan(tmp_path: Path, kspace: np.ndarray) -> str:
    folder = tmp_path / "scans"
    folder.mkdir()
    with h5py.File(folder / "scan.h5", "w") as file:
        file["kspace"] = kspace
    return f"{{kind: fastmri_hdf5, root: {folder}}}"


def kspace(slices: int = 8, coils: int = 2) -> np.ndarray:
    shape = (slices, coils, 16, 16)
    draw = np.random.default_rng(0)
    return (draw.normal(size=shape) + 1j * draw.normal(size=shape)).astype(np.complex64)


def test_a_missing_folder(tmp_path, capsys):
    code, message = attempt(tmp_path, capsys, data="{kind: fastmri_hdf5, root: nowhere}")
    assert code == 3
    assert "nowhere" in message
    assert nothing_left(tmp_path)


def test_an_unset_data_root_says_how_to_get_the_data_and_how_to_try_without(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FASTMRI_KNEE", raising=False)
    protocol = Path(__file__).parent.parent / "protocols" / "knee_R4.yaml"
    code = run_command(lambda: main([str(protocol), "--run-dir", str(tmp_path / "run")]))
    message = capsys.readouterr().err
    assert code == 3
    assert all(word in message for word in ("FASTMRI_KNEE", "docs/data.md", "export", "quickstart"))
    assert nothing_left(tmp_path)


def test_a_truncated_file(tmp_path, capsys):
    data = scan(tmp_path, kspace())
    path = tmp_path / "scans" / "scan.h5"
    path.write_bytes(path.read_bytes()[:3000])
    code, message = attempt(tmp_path, capsys, data=data)
    assert code == 3
    assert "scan.h5" in message
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda k: k[0, 0], "kspace"),
        (lambda k: k * 0, "zero"),
        (lambda k: np.where(np.arange(16) == 3, np.nan, k).astype(np.complex64), "NaN"),
    ],
    ids=["wrong rank", "all zero", "NaN"],
)
def test_impossible_kspace(tmp_path, capsys, spoil, word):
    code, message = attempt(tmp_path, capsys, data=scan(tmp_path, spoil(kspace())))
    assert code == 3
    assert "scan" in message
    assert word in message
    assert nothing_left(tmp_path)


def test_a_full_disk_is_resumable_and_leaves_no_half_checkpoint(tmp_path, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_fingerprint", full)
        code, message = attempt(tmp_path, capsys)
    assert code == 75
    assert "space" in message
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    code, _ = attempt(tmp_path, capsys)
    assert code == 0


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    protocol = tmp_path / "fine.yaml"
    protocol.write_text(PROTOCOL.format(data=KNEES, corruption=FOURIER, objective="ambient_fourier"))
    assert run_command(lambda: main([str(protocol), "--run-dir", str(tmp_path / "run"), "--dry-run"])) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("parameters", "images/s", "memory", "time"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fine.yaml"]
