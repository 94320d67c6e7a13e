"""One task under one seed: its protocol, its experiments, and the networks that several methods share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from benchmarks.methods.budget import Budget
from benchmarks.methods.data import prepare
from benchmarks.methods.features import classifier_features
from benchmarks.methods.tasks import Task
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.experiment import Experiment
from rsd_med.metrics.features import FeatureExtractor
from rsd_med.protocol import dump_protocol, load_protocol
from rsd_med.runs.run_folder import RunFolder
from rsd_med.runs.run_logger import RunLogger
from rsd_med.training.loop import Loop
from rsd_med.training.signals import StopRequest
from rsd_med.training.stage import Stage
from rsd_med.training.teacher_stage import TeacherStage

STEPS = 18
"""Of the teachers' samplers."""

PLAIN = {"corruption": {"kind": "none"}, "teacher.objective": {"kind": "denoising"}}
"""EDM on images as they are."""


@dataclass(frozen=True)
class Bench:
    """A task under a seed.

    Attributes
    ----------
    task, seed, budget
        What is compared.
    folder
        Where the runs of this task and seed lie; one that was interrupted goes on.
    data
        Folder of prepared data, shared by all tasks and seeds.
    device
        ``cpu``, ``cuda`` or ``auto``.
    """

    task: Task
    seed: int
    budget: Budget
    folder: Path
    data: Path
    device: str = "cpu"

    @property
    def side(self) -> int:
        """Side of the images."""
        return self.budget.side or self.task.side

    @property
    def student_images(self) -> int:
        """Length of a distillation."""
        return round(self.budget.student_images * self.task.student_share)

    @cached_property
    def prepared(self) -> Path:
        """Folder of the task's data."""
        return prepare(self.task, self.side, self.data).resolve()

    def clean_source(self, split: str) -> dict[str, Any]:
        """Return the protocol's ``data`` for clean images: of the test split for evaluation, else for the oracle."""
        if self.task.complex_images:
            return {"kind": "fastmri_hdf5", "root": str(self.prepared / ("test" if split == "test" else "train_full"))}
        return {"kind": "arrays", "root": str(self.prepared / f"{split}.npy")}

    def settings(self) -> dict[str, Any]:
        """Return the protocol of teacher and SiD student."""
        raw = {"kind": "fastmri_hdf5", "root": str(self.prepared / "train")}
        budget = self.budget
        return {
            "schema_version": 1,
            "name": self.task.name,
            "seed": self.seed,
            # Files of pictures are clean: the corruption is simulated, once and the same for the run.
            "data": raw if self.task.complex_images else self.clean_source("train"),
            "calibration": {"noise": "none"},
            "corruption": self.task.corruption,
            "backbone": {"kind": "monai_unet", "channels": budget.channels, "attention": budget.attention},
            "diffusion": {"precision": "float32", "hidden_std": self.task.hidden_std},
            "teacher": {
                "objective": self.task.objective,
                "images": budget.teacher_images,
                "batch_size": 32,
                "optimiser": {"learning_rate": 2e-3, "warmup_images": 2000, "decay": "cosine"},
                "ema": {"half_life": 4000},
                "evaluate_samples": min(256, budget.samples),
            },
            "student": {
                "images": self.student_images,
                "batch_size": 16,
                "clip": budget.clip,
                "generator": {"learning_rate": 4e-4, "betas": [0, 0.999], "decay": "cosine"},
                "fake": {"learning_rate": 1.2e-3, "betas": [0, 0.999], "decay": "cosine"},
                "ema": {"half_life": 2000, "ramp_up": 0.3},
                "evaluate_every": max(self.student_images // 8, 1),
                "evaluate_samples": min(1000, budget.samples),
            },
            "evaluation": {
                "num_samples": budget.samples,
                "monitor_images": min(2000, 4 * budget.samples),
                "samplers": [{"kind": "heun", "steps": STEPS}],
                "reference": self.clean_source("test"),
            },
            "engine": {"device": self.device, "log_every": 5000, "checkpoint_every": 20_000},
        }

    def experiment(self, name: str, changes: dict[str, Any] | None = None) -> tuple[Experiment, RunFolder]:
        """Open the run ``name`` of an experiment that differs from the task's in ``changes`` (``{"a.b": value}``)."""
        settings = self.settings()
        for path, value in (changes or {}).items():
            *parents, key = path.split(".")
            place = settings
            for parent in parents:
                place = place[parent]
            place[key] = value
        run = RunFolder(self.folder / name)
        run.path.mkdir(parents=True, exist_ok=True)
        given = run.path / "given.yaml"
        given.write_text(yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True))
        protocol = load_protocol(given)
        run.create(given.read_text(), dump_protocol(protocol), protocol.seed, run.path)
        return Experiment(protocol, run.path), run

    @cached_property
    def classifier(self) -> FeatureExtractor | None:
        """A second extractor, where the images have labels and the budget allows it."""
        return classifier_features(self.prepared) if self.budget.labelled else None

    @cached_property
    def own(self) -> Experiment:
        """The task's own experiment: its measurements, objective, extractor and reference."""
        return self.experiment("teacher")[0]

    @cached_property
    def teacher(self) -> Denoiser:
        """The corruption-aware teacher, trained when it is first asked for."""
        experiment, run = self.experiment("teacher")
        return train_to_end(experiment, run, "teacher", experiment.teacher_stage)

    def seconds(self, *names: str) -> float:
        """Add up the wall-clock seconds of the trainings called ``names``."""
        return sum(sum(RunFolder(self.folder / name).read_seconds().values()) for name in names)


def train_to_end(
    experiment: Experiment, run: RunFolder, name: str, build: Callable[[], Stage], offset: int = 0
) -> Denoiser:
    """Train the stage called ``name`` (``teacher`` or ``student``) from where it stopped, and load its network."""
    found, _ = run.checkpoints.newest(name)
    if found is None or not found.finished:
        with RunLogger(run, quiet=True) as run_logger, StopRequest() as stop:
            protocol = experiment.protocol
            loop = Loop(
                experiment.dataset,
                protocol.engine,
                run,
                run_logger,
                protocol.seed,
                experiment.device,
                stop,
                _no_figures,
            )
            loop.drive(build(), offset, found)
        found, _ = run.checkpoints.newest(name)
    assert found is not None
    run.lock.release()
    return experiment.load_network(found, name)


def continued(experiment: Experiment, weights: Denoiser) -> TeacherStage:
    """Build a teacher's stage that starts from the weights of another."""
    stage = experiment.teacher_stage()
    for network in (stage.denoiser, stage.ema.module):
        network.load_state_dict(weights.state_dict())
    return stage


def _no_figures(stage: Stage, images: int, samples: Tensor) -> dict[str, float]:
    return {}


def _plain(value: Any) -> Any:
    """Turn tuples into lists, which YAML knows."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
