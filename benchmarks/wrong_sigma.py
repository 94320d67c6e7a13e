"""What a wrong noise level costs: teachers and students that were told a σ other than that of their data.

python -m benchmarks.wrong_sigma [--seeds 0 …] [--factors 1 …] [--run-dir DIR]

MNIST at 16 pixels with noise of σ = 0.4. Training is told f σ, or to estimate it. Distances to the test images are
taken in the features of a small classifier. A run that is there already is gone on with, or only measured.
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.classifier import ClassifierFeatures, accuracy, train_classifier
from benchmarks.common import Figure, conclude, shared_data, succeed
from rsd_med.base.randomness import generator_for
from rsd_med.evaluation.generation import draw_images, student_draw, teacher_draw
from rsd_med.metrics.distances import compare
from rsd_med.opened_run import open_run
from rsd_med.runs.run_folder import RunFolder
from rsd_med.train import main as train
from rsd_med.workflow import load_models

SIGMA = 0.4
SIZE = 16
SAMPLES = 2000
FACTORS = (1.0, 0.5, 1.5, 0.8, 1.2, 0.9, 1.1)

PROTOCOL = """\
schema_version: 1
name: {name}
seed: {seed}
data: {{kind: arrays, root: {root}, key: x_train, resize: {size}, limit: 10000}}
corruption: {{kind: noise, sigma: {told}, simulated_sigma: {sigma}}}
backbone: {{kind: monai_unet, channels: [8, 16], attention: [false, false]}}
diffusion: {{precision: float32}}
teacher:
  objective: {{kind: ambient_tweedie}}
  images: 25600
  batch_size: 64
  optimiser: {{learning_rate: 2e-3, warmup_images: 1280, decay: cosine}}
  ema: {{half_life: 1000}}
  evaluate_samples: 64
student:
  images: 9600
  batch_size: 16
  generator: {{learning_rate: 4e-4, betas: [0, 0.999], decay: cosine}}
  fake: {{learning_rate: 1.2e-3, betas: [0, 0.999], decay: cosine}}
  ema: {{half_life: 1000, ramp_up: 0.3}}
  evaluate_samples: 1000
evaluation:
  num_samples: 64
  samplers: [{{kind: truncated, steps: 10}}]
engine: {{log_every: 5000, checkpoint_every: 5000, device: cpu, memory_format: contiguous, compile: false}}
"""


def load(split: str) -> tuple[Tensor, Tensor]:
    """Load clean digits ``(n, 1, 16, 16)`` in [-1, 1] and labels: for the classifier and the reference alone."""
    stored = np.load(shared_data("mnist") / "mnist.npz")
    images = torch.from_numpy(stored[f"x_{split}"][:12_000]).float()[:, None] / 127.5 - 1
    small = functional.interpolate(images, size=(SIZE, SIZE), mode="bilinear", antialias=True)
    return small.clamp(-1, 1), torch.from_numpy(stored[f"y_{split}"][:12_000]).long()


def seen(images: Tensor) -> Tensor:
    """Return images of the size that the classifier takes."""
    return functional.interpolate(images, size=(32, 32), mode="nearest")


def carry_out(folder: Path, name: str, told: float | str, seed: int) -> RunFolder:
    """Train one teacher and one student, or what is missing of them."""
    run = RunFolder(folder / name)
    if run.metrics.exists():
        return run
    protocol = folder / f"{name}.yaml"
    root = (shared_data("mnist") / "mnist.npz").resolve()
    protocol.write_text(PROTOCOL.format(name=name, seed=seed, root=root, size=SIZE, told=told, sigma=SIGMA))
    succeed(train, [str(protocol), "--run-dir", str(run.path), "--quiet"])
    return run


def measure(run: RunFolder, features: ClassifierFeatures, reference: Tensor) -> dict[str, float]:
    """Measure teacher and student of a run against clean test images."""
    experiment = open_run(run)
    settings = experiment.protocol
    teacher, student = load_models(experiment, run)
    assert student is not None
    draws = {
        "teacher": teacher_draw(teacher, settings.evaluation.samplers[0], experiment.objective.corruption.sigma),
        "student": student_draw(student, settings.student.few_steps),
    }
    found = {"told": experiment.objective.corruption.sigma}
    for name, draw in draws.items():
        images = draw_images(draw, experiment.objective, experiment.sampling_operators, SAMPLES, seed=1)
        found[name] = compare(seen(images), reference, features, generator_for(0, "distances"))["fd"]
    lines = [line for line in run.read_metrics_lines() if line["stage"] == "student" and "proximal_fd" in line]
    return found | {"student_proximal": lines[-1]["proximal_fd"]}


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wrong_sigma", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--factors", type=float, nargs="+", default=list(FACTORS))
    parser.add_argument("--run-dir", type=Path, default=Path("runs/wrong_sigma"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.run_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = load("train")
    test, test_labels = load("test")
    features = train_classifier(seen(images), labels, "mnist16", 1, folder / "classifier.pt")
    reference = seen(test[torch.randperm(len(test), generator=generator_for(0, "reference"))])
    correct = accuracy(features, seen(test), test_labels)
    floor = compare(seen(images[-SAMPLES:]), reference, features, generator_for(0, "distances"))["fd"]
    noise = torch.randn(SAMPLES, 1, SIZE, SIZE, generator=generator_for(0, "noisy"))
    noisy = compare(seen(images[:SAMPLES] + SIGMA * noise), reference, features, generator_for(0, "distances"))["fd"]
    print(f"{features.name}: accuracy {correct:.3f}, floor {floor:.3f}, noisy measurements {noisy:.3f}", flush=True)

    told: dict[str, float | str] = {"truth": SIGMA, "estimate": "estimate"}
    told |= {f"{factor:g}": factor * SIGMA for factor in options.factors if factor != 1}
    table: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        for name, level in told.items():
            run = carry_out(folder, f"seed{seed}_{name}", level, seed)
            table.setdefault(name, []).append(measure(run, features, reference))
            print(name, seed, table[name][-1], flush=True)

    def mean(name: str, key: str) -> float:
        return statistics.mean(entry[key] for entry in table[name])

    ratio = mean("estimate", "student") / mean("truth", "student")
    figures = [
        Figure("student with the estimate / with the truth", ratio, 1.1),
        Figure("estimate / truth", mean("estimate", "told") / SIGMA),
        *(
            Figure(
                f"{model}, told {name if name in ('truth', 'estimate') else name + ' x the truth'}", mean(name, model)
            )
            for name in table
            for model in ("teacher", "student", "student_proximal")
        ),
        Figure("floor (train against test)", floor),
        Figure("noisy measurements", noisy),
    ]
    details = {"data": f"MNIST at {SIZE} pixels", "sigma": SIGMA, "features": features.name, "accuracy": correct,
               "num_samples": SAMPLES, "seeds": options.seeds, "runs": table,
               "protocol": PROTOCOL.format(name="as here", seed="each", root="mnist.npz", size=SIZE, told="each",
                                           sigma=SIGMA)}  # fmt: skip
    return conclude("wrong_sigma", figures, details)


if __name__ == "__main__":
    sys.exit(main())
