"""Around the stages: how networks are computed, and where the student's checkpoints begin."""

from types import SimpleNamespace

import pytest
import torch

from rsd_med import workflow
from rsd_med.base.errors import DataError
from rsd_med.diffusion.compute import ComputeOptions
from rsd_med.experiment import Experiment
from rsd_med.protocol import load_protocol
from rsd_med.runs.distribution import ALONE
from rsd_med.training.autotune import LEAST_STEPS, Trial, load_autotune, save_autotune

CPU = torch.device("cpu")
INNER = ComputeOptions(memory_format="channels_last")
PROTOCOL = """
schema_version: 1
name: tuned
data: {kind: knee_phantom, num_images: 8, size: 16, coils: 2, supersample: 1}
calibration: {noise: none}
corruption: {kind: multicoil_fourier, acceleration: 2, acs_lines: 2, further_lines: 2}
backbone: {kind: monai_unet, channels: [8, 8], attention: [false, false]}
teacher: {objective: {kind: ambient_fourier}, images: 1600, batch_size: 8, evaluate_samples: 8}
student: {images: 16, batch_size: 8, evaluate_samples: 8}
evaluation: {num_samples: 8, monitor_images: 8}
engine: {device: cpu}
"""


@pytest.fixture
def protocol(tmp_path):
    path = tmp_path / "tuned.yaml"
    path.write_text(PROTOCOL)
    return path


def test_a_run_goes_on_and_is_opened_as_it_began_unless_the_protocol_says_otherwise(protocol, tmp_path):
    record = tmp_path / "autotune.json"
    save_autotune(record, CPU, INNER, [])

    def compute_options(*overrides):
        return Experiment(load_protocol(protocol, list(overrides)), tmp_path, stored_autotune=record).compute_options

    assert compute_options() == INNER
    assert compute_options("engine.memory_format=contiguous") == ComputeOptions()
    assert compute_options("diffusion.precision=bfloat16") == INNER.model_copy(update={"precision": "bfloat16"})


def test_a_fresh_run_tries_once_and_later_starts_keep_what_it_found(protocol, tmp_path, monkeypatch):
    run = SimpleNamespace(autotune=tmp_path / "autotune.json")
    run_logger = SimpleNamespace(say=lambda sentence: None)
    tried = []

    def trials(self):
        tried.append(1)
        return [Trial(ComputeOptions(), 1.0), Trial(INNER, 0.5)]

    monkeypatch.setattr(Experiment, "time_compute_options", trials)
    made = Experiment(load_protocol(protocol), tmp_path, stored_autotune=run.autotune)
    assert made.protocol.teacher.images == LEAST_STEPS * made.protocol.teacher.batch_size
    for _ in range(2):
        workflow._tune(made, run, None, run_logger)
        assert load_autotune(run.autotune, CPU) == made.compute_options == INNER
    assert tried == [1]


@pytest.mark.parametrize("resume_from", ["checkpoint", None], ids=["begun before trials", "too short"])
def test_a_run_begun_without_a_trial_or_too_short_for_one_tries_nothing(protocol, tmp_path, monkeypatch, resume_from):
    monkeypatch.setattr(Experiment, "time_compute_options", lambda self: pytest.fail("tried"))
    run = SimpleNamespace(autotune=tmp_path / "autotune.json")
    overrides = [] if resume_from else ["teacher.images=1592"]
    made = Experiment(load_protocol(protocol, overrides), tmp_path, stored_autotune=run.autotune)
    workflow._tune(made, run, resume_from, SimpleNamespace(say=lambda sentence: None))
    assert made.compute_options == load_autotune(run.autotune, CPU)
    assert made.compute_options.memory_format == "contiguous"


def test_the_trial_runs_on_the_runs_own_networks_and_measurements(protocol, tmp_path, monkeypatch):
    from rsd_med.training import autotune

    monkeypatch.setattr(autotune, "ROUNDS", 1)
    overrides = ["diffusion.precision=float32", "engine.micro_batch=4"]
    made = Experiment(load_protocol(protocol, overrides), tmp_path, distribution=ALONE)
    found = made.time_compute_options()
    assert [trial.compute_options for trial in found] == [ComputeOptions(), INNER]
    assert all(0 < trial.seconds < 60 for trial in found)


def store(**newest):
    """A run with the newest checkpoint of some stages."""
    checkpoints = SimpleNamespace(newest=lambda stage: (newest.get(stage), []))
    return SimpleNamespace(path=SimpleNamespace(name="run"), checkpoints=checkpoints)


def checkpoint(name, *, finished=True):
    return SimpleNamespace(folder=SimpleNamespace(name=name), images=int(name), finished=finished)


def test_a_stages_checkpoints_begin_where_those_before_end(protocol, tmp_path):
    """A last batch goes past the images asked for; counted from those, an early stop of the student would be saved in
    the very place of the finished teacher.
    """
    made = Experiment(load_protocol(protocol), tmp_path)
    run = store(teacher=checkpoint("0000000024"))
    assert workflow._images_before(made, run, "teacher") == 0
    assert workflow._images_before(made, run, "student") == 24
    completed = ["teacher.objective={kind: completed}", "reconstructor={images: 8, start: fresh, least_central: 2}"]
    first = Experiment(load_protocol(protocol, completed), tmp_path)
    run = store(reconstructor=checkpoint("0000000008"), teacher=checkpoint("0000000032"))
    assert [workflow._images_before(first, run, stage) for stage in first.protocol.stages] == [0, 8, 32]


def test_a_student_needs_a_finished_teacher(protocol, tmp_path):
    run = store(teacher=checkpoint("0000000008", finished=False))
    with pytest.raises(DataError, match="finish it first"):
        workflow._build_stage(Experiment(load_protocol(protocol), tmp_path), run, "student")
