"""Natural images seen only with noise: Ambient Tweedie teacher, one-step student, distances in a classifier's features.

python -m benchmarks.noise [mnist|cifar10] [--teacher-images N] [--student-images N] [--set a.b=c]… [--run-dir DIR]
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.classifier import accuracy, train_classifier
from benchmarks.common import Figure, conclude, shared_data
from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.evaluation.generation import draw_images, student_draw, teacher_draw
from rsd_med.experiment import Experiment
from rsd_med.metrics.distances import compare
from rsd_med.protocol import dump_protocol, load_protocol
from rsd_med.runs.run_folder import RunFolder
from rsd_med.runs.run_logger import RunLogger
from rsd_med.training.loop import Loop
from rsd_med.training.signals import StopRequest
from rsd_med.training.stage import Stage

SAMPLES = 2000

DATA = {
    "mnist": "{{kind: arrays, root: {folder}/mnist.npz, key: x_train, pad: 32, limit: 20000}}",
    "cifar10": "{{kind: image_folder, root: {folder}, include: 'train_c*_[01].webp', tile: [32, 32]}}",
}
SIGMA = {"mnist": 0.4, "cifar10": 0.2}

PROTOCOL = """\
schema_version: 1
name: {task}_noise{sigma}
data: {data}
corruption: {{kind: noise, sigma: {sigma}}}
backbone: {{kind: monai_unet, channels: [16, 32, 48], attention: [false, false, true]}}
teacher:
  objective: {{kind: ambient_tweedie}}
  images: {teacher_images}
  batch_size: 32
  optimiser: {{learning_rate: 2e-3, warmup_images: 2000, decay: cosine}}
  ema: {{half_life: 4000}}
  evaluate_every: {teacher_every}
  evaluate_samples: 256
student:
  images: {student_images}
  batch_size: 16
  ema: {{half_life: 2000, ramp_up: 0.3}}
  evaluate_every: 2000
  evaluate_samples: 2000
evaluation:
  monitor_images: 2000
  samplers: [{{kind: truncated, steps: 18}}, {{kind: heun, steps: 18}}]
engine: {{log_every: 5000, checkpoint_every: 100000}}
"""


def load_labelled(task: str, folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Load clean images ``(n, c, 32, 32)`` in [-1, 1] and labels: for the classifier and the reference alone."""
    if task == "mnist":
        stored = np.load(folder / "mnist.npz")
        images = torch.from_numpy(stored[f"x_{split}"]).float()[:, None] / 127.5 - 1
        padded = torch.nn.functional.pad(images, (2, 2, 2, 2), value=-1.0)
        return padded, torch.from_numpy(stored[f"y_{split}"]).long()
    from rsd_med.data.image_folder import ImageFolderSettings

    pictures: list[Tensor] = []
    labels: list[int] = []
    for label in range(10):
        pattern = f"{split}_c{label}_*.webp"
        source = ImageFolderSettings(root=str(folder), include=pattern, tile=(32, 32)).build()
        pictures += [source[i].image for i in range(len(source))]
        labels += [label] * len(source)
    return torch.stack(pictures), torch.tensor(labels)


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise", description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", choices=list(DATA), default="mnist", help="default %(default)s")
    parser.add_argument("--teacher-images", type=int, default=80_000)
    parser.add_argument("--student-images", type=int, default=24_000)
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c")
    parser.add_argument("--run-dir", type=Path)
    options = parser.parse_args()
    folder = shared_data(options.task)
    run = RunFolder(options.run_dir or Path("runs") / f"{options.task}_benchmark")
    run.path.mkdir(parents=True, exist_ok=True)
    given = run.path / "given.yaml"
    given.write_text(
        PROTOCOL.format(
            task=options.task,
            sigma=SIGMA[options.task],
            data=DATA[options.task].format(folder=folder.resolve()),
            teacher_images=options.teacher_images,
            teacher_every=max(options.teacher_images // 4, 1),
            student_images=options.student_images,
        )
    )
    protocol = load_protocol(given, options.set)
    experiment = Experiment(protocol, run.path)
    run.create(given.read_text(), dump_protocol(protocol), protocol.seed, run.path)

    train_images, train_labels = load_labelled(options.task, folder, "train")
    test_images, test_labels = load_labelled(options.task, folder, "test")
    extractor = train_classifier(train_images, train_labels, options.task, 2, run.path / "classifier.pt")
    correct = accuracy(extractor, test_images, test_labels)
    shuffled = test_images[torch.randperm(len(test_images), generator=generator_for(0, "reference"))]

    def distance(images: Tensor) -> float:
        return compare(images, shuffled, extractor, generator_for(0, "distances"))["fd"]

    floor = distance(train_images[torch.randperm(len(train_images), generator=generator_for(0, "floor"))[:SAMPLES]])
    noisy = distance(experiment.measurements[:SAMPLES].data)
    print(f"{extractor.name}: accuracy {correct:.3f}, floor {floor:.3f}, noisy measurements {noisy:.3f}", flush=True)
    curve: list[dict[str, float | str]] = []

    def keep(stage: Stage, images: int, samples: Tensor) -> dict[str, float]:
        curve.append({"stage": stage.name, "images": images, "fd": distance(samples), "samples": len(samples)})
        return {"classifier_fd": float(curve[-1]["fd"])}

    with RunLogger(run) as run_logger, StopRequest() as stop:
        loop = Loop(experiment.dataset, protocol.engine, run, run_logger, protocol.seed, experiment.device, stop, keep)
        found, _ = run.checkpoints.newest("teacher")
        if found is None or not found.finished:
            loop.drive(experiment.teacher_stage(), 0, found)
            found, _ = run.checkpoints.newest("teacher")
        assert found is not None
        teacher = experiment.load_network(found, "teacher")
        student = experiment.student_stage(teacher)
        loop.drive(student, int(found.folder.name))

    figures = conclude_figures(experiment, teacher, student.best, distance)
    return conclude(
        f"noise-{options.task}",
        [*figures, Figure("floor (train against test)", floor), Figure("noisy measurements", noisy)],
        {"features": extractor.name, "accuracy": correct, "num_samples": SAMPLES, "seed": 1, "curve": curve,
         "student_chosen_at": student.best_images, "protocol": protocol.model_dump(mode="json")},
    )  # fmt: skip


def conclude_figures(
    experiment: Experiment, teacher: Denoiser, student: Denoiser, distance: Callable[[Tensor], float]
) -> list[Figure]:
    """Compare the teacher's samplers and the student on the same number of samples."""
    sigma, distances = experiment.objective.corruption.sigma, {}
    for sampler in experiment.protocol.evaluation.samplers:
        draw = teacher_draw(teacher, sampler, sigma)
        images = draw_images(draw, experiment.objective, experiment.sampling_operators, SAMPLES, seed=1)
        distances[sampler.kind] = distance(images)
    draw = student_draw(student, experiment.protocol.student.few_steps)
    images = draw_images(draw, experiment.objective, experiment.sampling_operators, SAMPLES, seed=1)
    found, best = distance(images), min(distances.values())
    return [
        Figure("student / teacher's best", found / best, 1.0),
        Figure("student / teacher's best, aim", found / best, 0.5),
        Figure("student", found),
        *(Figure(f"teacher.{name}", value) for name, value in distances.items()),
    ]


if __name__ == "__main__":
    sys.exit(main())
