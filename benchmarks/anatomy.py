"""Teachers and students of real anatomy at a size at which it is seen, from undersampled raw files alone.

python -m benchmarks.anatomy [--anatomy brains|heads|knees] [--size 64|128] [--coils 4] [--acceleration 4]
    [--teacher-images N] [--student-images N] [--skip] [--samples N] [--run-dir DIR]

The train split becomes undersampled raw files, in which nothing that was not sampled is left; the test split, by other
subjects, is simulated fully sampled and serves evaluation alone. The floor is the distance between the two splits, by
as many images as are drawn. A run that was stopped goes on when the command is given again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Figure, conclude, shared_data, succeed
from rsd_med.base.randomness import generator_for
from rsd_med.metrics.distances import compare
from rsd_med.metrics.features import FeatureExtractor
from rsd_med.metrics.pca import PCAFeatures
from rsd_med.metrics.random_conv import RandomConvSettings
from rsd_med.metrics.views import magnitude_view
from rsd_med.runs.run_folder import RunFolder

FOLDERS = {
    "brains": "brain_t1_axial_oasis",  # without skull
    "heads": "brain_t1ce_axial_cheng",
    "knees": "knee_pdfs_sagittal_mridata",
}
PROTOCOL = """\
schema_version: 1
name: {name}
data: {{kind: fastmri_hdf5, root: {scans}/train}}
calibration: {{noise: none}}
corruption:
  {{kind: multicoil_fourier, mask: file, acceleration: {acceleration}, acs_lines: {acs}, further_lines: {further}}}
backbone: {{kind: patch_unet, channels: {channels}, attention: {attention}}}
teacher:
  objective: {{kind: ambient_fourier}}
  images: {teacher_images}
  batch_size: 16
  optimiser: {{kind: muon, warmup_images: 500, decay: cosine}}
  ema: {{half_life: 2000}}
  evaluate_samples: 64
student:
  images: {student_images}
  batch_size: 8
  generator: {{kind: muon, learning_rate: 2e-3, adam_learning_rate: 2e-4, momentum: 0.5, decay: cosine}}
  fake: {{kind: muon, learning_rate: 5e-3, adam_learning_rate: 6e-4, momentum: 0.5, decay: cosine}}
  adversarial: {{}}
  skip: {skip}
  ema: {{half_life: 500, ramp_up: 0.3}}
  evaluate_every: {student_every}
  evaluate_samples: {samples}
evaluation:
  num_samples: {samples}
  reference: {{kind: fastmri_hdf5, root: {scans}/test}}
engine: {{log_every: 400, checkpoint_every: 1000}}
"""


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anatomy", description=__doc__.splitlines()[0])
    parser.add_argument("--anatomy", default="heads", choices=list(FOLDERS))
    parser.add_argument("--size", type=int, default=128, choices=[64, 128])
    parser.add_argument("--coils", type=int, default=4)
    parser.add_argument("--acceleration", type=int, default=4)
    parser.add_argument("--teacher-images", type=int, default=16_000)
    parser.add_argument("--student-images", type=int, default=4_400)
    parser.add_argument("--skip", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--samples", type=int, default=189)
    parser.add_argument("--run-dir", type=Path)
    options = parser.parse_args()
    name = f"{options.anatomy}-{options.size}-R{options.acceleration}"
    folder = (options.run_dir or Path("runs") / name).resolve()
    scans = folder / "scans"
    acs = options.size // (2 * options.acceleration)
    _simulate(scans, options, acs)
    protocol = folder / "protocol.yaml"
    deep = options.size > 64
    protocol.write_text(
        PROTOCOL.format(
            name=f"{options.anatomy}{options.size}_R{options.acceleration}",
            skip=str(options.skip).lower(),
            student_every=max(options.student_images // 5, 1),
            scans=scans,
            acs=acs,
            acceleration=options.acceleration,
            further=options.size // options.acceleration // 4,
            channels=[48, 96, 128, 192] if deep else [64, 96, 128],
            attention=[False, False, True, True] if deep else [False, False, True],
            teacher_images=options.teacher_images,
            student_images=options.student_images,
            samples=options.samples,
        )
    )

    from rsd_med.train import main as train

    succeed(train, [str(protocol), "--run-dir", str(folder / "run")])
    run = RunFolder(folder / "run")
    metrics = json.loads(run.metrics.read_text())
    curves = [line for line in run.read_metrics_lines() if "fd" in line]
    return conclude(
        f"anatomy-{name}", _figures(run, scans, metrics, options.samples), {"metrics": metrics, "curves": curves}
    )


def _simulate(scans: Path, options: argparse.Namespace, acs: int) -> None:
    """Make raw files of both splits where they are not there yet."""
    from rsd_med.simulate import main as simulate

    source = shared_data(FOLDERS[options.anatomy])
    mask = ["--acceleration", str(options.acceleration), "--acs-lines", str(acs), "--mask-per-slice"]
    for split, extra in (
        ("train", [*mask, "--sigma", "0.005"]),
        ("test", ["--fully-sampled", "--seed", "1"]),
        ("train_full", ["--fully-sampled", "--seed", "2"]),
    ):
        if not (scans / split).exists():
            images = source / f"{split.split('_')[0]}_{max(options.size, _SMALLEST[options.anatomy])}.npz"
            shape = ["--size", str(options.size), "--coils", str(options.coils)]
            succeed(simulate, [str(images), "--out", str(scans / split), *shape, *extra])


_SMALLEST = {"brains": 64, "heads": 128, "knees": 128}
"""Sides of the smallest images of each set, in pixels."""


def _figures(run: RunFolder, scans: Path, metrics: dict[str, Any], samples: int) -> list[Figure]:
    """Hold student and teacher against the test split, beside the floor, by two extractors."""
    from rsd_med.evaluation.generation import draw_images, student_draw, teacher_draw
    from rsd_med.opened_run import open_run
    from rsd_med.workflow import load_models

    experiment = open_run(run)
    assert experiment.reference is not None
    clean = open_run(run, reference=scans / "train_full").reference
    assert clean is not None
    test, generator = magnitude_view(experiment.reference), generator_for(0, "distances")
    order = torch.randperm(len(clean), generator=generator_for(0, "floor"))[:samples]
    sets = {"floor": clean[order]}
    teacher, student = load_models(experiment, run)
    assert student is not None
    draws = {
        "teacher": teacher_draw(teacher, experiment.protocol.evaluation.samplers[0], 0.0),
        "student": student_draw(student, experiment.protocol.student.one_step),
    }
    for name, draw in draws.items():
        sets[name] = draw_images(draw, experiment.objective, experiment.sampling_operators, samples, seed=1)
    # A second opinion whose features have nothing to do with the first's.
    extractors: dict[str, FeatureExtractor] = {
        "random-conv": RandomConvSettings().build(),
        "pca-48": PCAFeatures(test, 48),
    }
    figures = []
    for extractor, features in extractors.items():
        for name, images in sets.items():
            answer = compare(magnitude_view(images), test, features, generator)
            values = {key: value for key, value in answer.items() if key in ("fd", "coverage", "precision", "recall")}
            figures += [Figure(f"{extractor}: {name}.{key}", float(str(value))) for key, value in values.items()]
    by_name = {figure.name: figure.value for figure in figures}
    floor = by_name["random-conv: floor.fd"]
    figures += [
        Figure("student.fd / floor", by_name["random-conv: student.fd"] / floor, 4.0),
        Figure("student.fd / teacher.fd", metrics["ratio"], 0.7),
        Figure("speedup", metrics["speedup"], 30, at_most=False),
    ]
    figures += [
        Figure(
            f"student.{key} / floor",
            by_name[f"random-conv: student.{key}"] / by_name[f"random-conv: floor.{key}"],
            0.7,
            False,
        )
        for key in ("coverage", "precision")
    ]
    return figures


if __name__ == "__main__":
    sys.exit(main())
