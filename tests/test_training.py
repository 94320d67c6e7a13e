"""The loop end to end, small: what a run leaves, and that a killed run ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rsd_med.metrics.distances import FIGURES
from rsd_med.runs.metrics_line import MetricsLine
from rsd_med.runs.run_folder import RunFolder
from rsd_med.train import main
from rsd_med.training.student_stage import StudentStage
from rsd_med.training.teacher_stage import TeacherStage

PROTOCOL = """
schema_version: 1
name: tiny
seed: 3
data: {kind: knee_phantom, num_images: 40, size: 16, coils: 2, supersample: 1}
calibration: {noise: none}
corruption: {kind: multicoil_fourier, acceleration: 2, acs_lines: 2, further_lines: 2}
backbone: {kind: monai_unet, channels: [8, 8], attention: [false, false]}
teacher:
  objective: {kind: ambient_fourier}
  images: 64
  batch_size: 8
  optimiser: {learning_rate: 1e-3}
  evaluate_samples: 16
student:
  images: 48
  batch_size: 8
  evaluate_every: 24
  evaluate_samples: 16
evaluation:
  num_samples: 32
  monitor_images: 32
  samplers: [{kind: heun, steps: 3}]
  reference: {kind: knee_phantom, num_images: 40, size: 16, coils: 2, supersample: 1, split: test}
engine: {log_every: 16, checkpoint_every: 16, device: cpu}
"""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protocol") / "tiny.yaml"
    path.write_text(PROTOCOL)
    return path


@pytest.fixture(scope="module")
def straight(protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that nothing interrupted."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert main([str(protocol), "--run-dir", str(folder), "--quiet"]) == 0
    return folder


def test_a_run_leaves_everything_the_contract_names(straight: Path) -> None:
    for name in (
        "protocol.yaml",
        "protocol.resolved.yaml",
        "environment.json",
        "autotune.json",
        "status.json",
        "metrics.jsonl",
        "metrics.json",
        "log.txt",
        "tensorboard",
        "samples",
        "report.html",
        "model_card.md",
    ):
        assert (straight / name).exists(), name
    for line in RunFolder(straight).read_metrics_lines():
        MetricsLine.model_validate(line)  # which docs/run_folder.md describes
    metrics = json.loads((straight / "metrics.json").read_text())
    assert {*FIGURES, "seconds_per_image"} <= metrics["teacher"]["heun"].keys()
    assert {*FIGURES, "proximal_fd", "seconds_per_image"} <= metrics["student"].keys()
    assert metrics["num_samples"] == 32
    floor = metrics["floor"]
    assert (floor["origin"], floor["num_images"], floor["num_reference"]) == ("training", 32, 40)
    assert floor["fd"] < min(metrics["student"]["fd"], metrics["teacher"]["heun"]["fd"])
    assert metrics["spectrum"]["over"].keys() == {"teacher.heun", "student"}
    audit = metrics["memorisation"]
    assert (audit["model"], audit["baseline"], audit["num_samples"]) == ("student", "clean", 32)
    assert audit["share_low"] <= audit["share"] <= audit["share_high"]
    assert metrics["features"].startswith("random-conv")
    teacher, student = metrics["teacher"]["heun"], metrics["student"]
    assert metrics["speedup"] == teacher["seconds_per_image"] / student["seconds_per_image"]
    assert json.loads((straight / "status.json").read_text())["state"] == "done"


@pytest.mark.parametrize("stage_of_death", ["teacher", "student"])
def test_killed_and_resumed_equals_uninterrupted(
    protocol: Path, straight: Path, tmp_path: Path, stage_of_death: str
) -> None:
    """kill -9 somewhere after a checkpoint of either stage; the resumed run ends bit for bit the same."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "rsd_med.train", str(protocol), "--run-dir", str(folder), "--quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    store = RunFolder(folder).checkpoints
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        checkpoint, _ = store.newest(stage_of_death)
        if checkpoint is not None and not checkpoint.finished:
            break
        time.sleep(0.005)
    assert process.poll() is None, "the run was over before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "metrics.json").exists()

    assert main([str(protocol), "--run-dir", str(folder), "--quiet"]) == 0
    for total in ("0000000064", "0000000112"):
        for file in sorted((straight / "checkpoints" / total).glob("*.safetensors")):
            expected, found = load_file(file), load_file(folder / "checkpoints" / total / file.name)
            assert expected.keys() == found.keys()
            assert all(torch.equal(expected[name], found[name]) for name in expected), file.name
    same = (*FIGURES, "proximal_fd")
    first = json.loads((straight / "metrics.json").read_text())["student"]
    second = json.loads((folder / "metrics.json").read_text())["student"]
    assert [first[name] for name in same] == [second[name] for name in same]


def test_a_signal_saves_and_leaves_with_75(protocol: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "rsd_med.train", str(protocol), "--run-dir", str(folder), "--quiet"]
    command += ["--set", "teacher.images=80000", "--set", "engine.checkpoint_every=16"]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    store = RunFolder(folder).checkpoints
    deadline = time.monotonic() + 60
    while store.newest()[0] is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "SIGTERM" in errors
    assert "Traceback" not in errors
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    checkpoint, _ = store.newest()
    assert checkpoint is not None
    assert not checkpoint.finished


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(protocol: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main([str(protocol), "--run-dir", str(folder), "--quiet", "--stage", "teacher"]) == 0
    newest, warnings = RunFolder(folder).checkpoints.newest()
    assert newest is not None
    assert not warnings
    file = newest.folder / "teacher.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    before, warnings = RunFolder(folder).checkpoints.newest()
    assert before is not None
    assert before.images < newest.images
    assert "damaged" in warnings[0]


def test_going_on_with_another_protocol_is_refused(protocol: Path, straight: Path) -> None:
    from rsd_med.base.errors import ProtocolError

    with pytest.raises(ProtocolError, match="begun with another protocol"):
        main([str(protocol), "--run-dir", str(straight), "--set", "student.images=56"])


def test_how_a_run_is_described_may_change(protocol: Path) -> None:
    from rsd_med.protocol import dump_protocol, load_protocol
    from rsd_med.train import refuse_other_protocol

    own = load_protocol(protocol)
    path = protocol.with_name("begun.yaml")
    path.write_text(dump_protocol(own), encoding="utf-8")
    refuse_other_protocol(path, own.model_copy(update={"description": "heads, T1"}))


def test_a_corpus_of_mixed_sizes_and_coil_counts_is_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are of one shape each, and every shape is met by teacher and student."""
    import h5py
    import numpy as np

    draw = np.random.default_rng(0)
    shapes = {"few_coils": (8, 2, 16, 16), "many_coils": (6, 3, 20, 12), "odd": (5, 2, 17, 15)}
    for name, shape in shapes.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            values = draw.standard_normal((*shape, 2), dtype=np.float32)
            file["kspace"] = values.view(np.complex64)[..., 0]
    path = tmp_path / "mixed.yaml"
    path.write_text(
        PROTOCOL.replace(
            "{kind: knee_phantom, num_images: 40, size: 16, coils: 2, supersample: 1}",
            f"{{kind: fastmri_hdf5, root: {tmp_path}}}",
            1,
        )
        .replace("acs_lines: 2", "acs_lines: 4")
        .replace(
            "  reference: {kind: knee_phantom, num_images: 40, size: 16, coils: 2, supersample: 1, split: test}\n", ""
        )
    )
    met: dict[str, set[tuple[int, ...]]] = {"teacher": set(), "student": set()}
    for stage in (TeacherStage, StudentStage):
        step = stage.step

        def noted(self, batch, *given, step=step):
            met[self.name].add(tuple(batch.data.shape[1:]))
            return step(self, batch, *given)

        monkeypatch.setattr(stage, "step", noted)
    assert main([str(path), "--run-dir", str(tmp_path / "run"), "--quiet"]) == 0
    assert met["teacher"] == met["student"] == {shape[1:] for shape in shapes.values()}
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["num_measurements"] == sum(shape[0] for shape in shapes.values())
    assert metrics["student"]["proximal_fd"] > 0
