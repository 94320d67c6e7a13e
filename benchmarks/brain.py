"""Real brain slices as four-coil R = 4 raw files; teacher and student from those files alone.

python -m benchmarks.brain [--size 32] [--teacher-images N] [--student-images N] [--run-dir DIR]

The train split becomes undersampled raw files, in which nothing that was not sampled is left; the test split, by other
subjects, is simulated fully sampled and serves evaluation alone. The floor is the distance between the two splits.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from benchmarks.common import Figure, conclude, shared_data, succeed
from rsd_med.base.randomness import generator_for
from rsd_med.metrics.distances import compare
from rsd_med.metrics.pca import PCAFeatures
from rsd_med.metrics.random_conv import RandomConvSettings
from rsd_med.metrics.views import magnitude_view
from rsd_med.runs.run_folder import RunFolder

PROTOCOL = """\
schema_version: 1
name: brain{size}_R4
data: {{kind: fastmri_hdf5, root: {scans}/train}}
calibration: {{noise: none}}
corruption: {{kind: multicoil_fourier, mask: file, acceleration: 4, acs_lines: {acs}, further_lines: {further}}}
backbone: {{kind: monai_unet, channels: [16, 32, 48], attention: [false, false, true]}}
diffusion: {{hidden_std: 0}}  # EDM's constants: what they cost is part of the finding
teacher:
  objective: {{kind: ambient_fourier}}
  images: {teacher_images}
  batch_size: 32
  optimiser: {{learning_rate: 2e-3, warmup_images: 2000, decay: cosine}}
  ema: {{half_life: 4000}}
  evaluate_every: {teacher_every}
  evaluate_samples: 512
student:
  images: {student_images}
  batch_size: 32
  fake_steps: 1
  loss: {{kind: sid, t_min: 0, t_max: 0.8, from_data_sigma: false}}
  generator: {{learning_rate: 2e-4, betas: [0, 0.999], decay: cosine}}
  fake: {{learning_rate: 2e-4, betas: [0, 0.999]}}
  ema: {{half_life: 2000, ramp_up: 0.3}}
  evaluate_every: 2000
  evaluate_samples: 1000
evaluation:
  num_samples: 1000
  reference: {{kind: fastmri_hdf5, root: {scans}/test}}
engine: {{log_every: 5000, checkpoint_every: 100000}}
"""


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.brain", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=32, choices=[32, 64])
    parser.add_argument("--teacher-images", type=int, default=240_000)
    parser.add_argument("--student-images", type=int, default=20_000)
    parser.add_argument("--run-dir", type=Path, default=Path("runs/brain_benchmark"))
    options = parser.parse_args()
    source = shared_data("brain_t1_axial_oasis")

    from rsd_med.simulate import main as simulate
    from rsd_med.train import main as train

    folder = options.run_dir.resolve()
    acs = options.size // 8
    scans = folder / "scans"
    undersampled = ["--acceleration", "4", "--acs-lines", str(acs), "--mask-per-slice", "--sigma", "0.005"]
    shape = ["--size", str(options.size), "--coils", "4"]
    for split, extra in (
        ("train", undersampled),
        ("test", ["--fully-sampled", "--seed", "1"]),
        ("train_full", ["--fully-sampled", "--seed", "2"]),
    ):
        if not (scans / split).exists():
            succeed(
                simulate, [str(source / f"{split.split('_')[0]}_64.npz"), "--out", str(scans / split), *shape, *extra]
            )
    protocol = folder / "protocol.yaml"
    further = options.size // 4 - options.size * 3 // 16
    protocol.write_text(
        PROTOCOL.format(
            size=options.size,
            scans=scans,
            acs=acs,
            further=further,
            teacher_images=options.teacher_images,
            teacher_every=max(options.teacher_images // 8, 1),
            student_images=options.student_images,
        )
    )
    succeed(train, [str(protocol), "--run-dir", str(folder / "run")])

    from rsd_med.evaluation.generation import draw_images, student_draw, teacher_draw
    from rsd_med.opened_run import open_run
    from rsd_med.workflow import load_models

    run = RunFolder(folder / "run")
    metrics = json.loads(run.metrics.read_text())
    experiment = open_run(run)
    assert experiment.reference is not None
    clean = open_run(run, reference=scans / "train_full").reference
    assert clean is not None
    test, generator = magnitude_view(experiment.reference), generator_for(0, "distances")
    order = torch.randperm(len(clean), generator=generator_for(0, "floor"))[:1000]
    train_view = magnitude_view(clean[order])
    floor = compare(train_view, test, RandomConvSettings().build(), generator)["fd"]
    # A second opinion whose features have nothing to do with the first's.
    pca = PCAFeatures(test, 48)
    teacher, student = load_models(experiment, run)
    assert student is not None
    sampler = experiment.protocol.evaluation.samplers[0]
    draws = {
        "teacher": teacher_draw(teacher, sampler, 0.0),
        "student": student_draw(student, experiment.protocol.student.one_step),
    }
    second = {"floor": compare(train_view, test, pca, generator)["fd"]}
    for name, draw in draws.items():
        images = draw_images(draw, experiment.objective, experiment.sampling_operators, 1000, seed=1)
        second[name] = compare(magnitude_view(images), test, pca, generator)["fd"]
    best = metrics["teacher"][metrics["best_teacher"]]
    curves = [line for line in run.read_metrics_lines() if "fd" in line]
    figures = [
        Figure("student.fd / teacher.fd", metrics["ratio"], 0.30),
        Figure("speedup", metrics["speedup"], 30, at_most=False),
        Figure("teacher.fd", best["fd"]),
        Figure("student.fd", metrics["student"]["fd"]),
        Figure("floor (train split against test split)", floor),
        Figure("pca-48: student / teacher", second["student"] / second["teacher"]),
        Figure("pca-48: teacher", second["teacher"]),
        Figure("pca-48: student", second["student"]),
        Figure("pca-48: floor", second["floor"]),
    ]
    return conclude(f"brain-{options.size}", figures, {"metrics": metrics, "curves": curves})


if __name__ == "__main__":
    sys.exit(main())
