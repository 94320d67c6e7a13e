"""Teachers and students of real anatomy at a size at which it is seen, from undersampled raw files alone.

python -m benchmarks.anatomy [--anatomy brains|heads|knees] [--size 64|128] [--coils 8] [--acceleration 4]
    [--ambient | --reconstructor RUN | --reconstructor-images N] [--teacher-images N] [--student-images N] [--samples N]
    [--run-dir DIR]

The train split becomes undersampled raw files, each image twice, a mask for each slice, in which nothing that was not
sampled is left; scans differ in noise, phase and shading (`rsd_med.simulate --varied`). A reconstructor completes them,
its own, trained first, or another run's; teacher and student learn from those images. The test split, by other
subjects, is simulated fully sampled and serves evaluation alone. The floor is the distance between the two splits, by
as many images as are drawn. A run that was stopped goes on when the command is given again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Figure, conclude, shared_data, succeed
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions import MultiCoilFourierSettings
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.measurements import MeasurementDataset
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
description: {description}
data: {{kind: fastmri_hdf5, root: {scans}/train}}
calibration: {{noise: auto}}
corruption:
  {{kind: multicoil_fourier, mask: file, acceleration: {acceleration}, acs_lines: {acs}, further_lines: {further}}}
backbone: {{kind: patch_unet, channels: {channels}, attention: {attention}}}
teacher:
  objective: {objective}
  images: {teacher_images}
  batch_size: 16
  optimiser: {{kind: muon, warmup_images: 500, decay: cosine}}
  ema: {{half_life: 2000}}
  evaluate_every: {teacher_every}
  evaluate_samples: 96
student:
  images: {student_images}
  batch_size: 8
  further_levels: [0.2]
  skip: false
  generator: {{kind: muon, learning_rate: 2e-3, adam_learning_rate: 2e-4, momentum: 0.5, decay: cosine}}
  fake: {{kind: muon, learning_rate: 5e-3, adam_learning_rate: 6e-4, momentum: 0.5, decay: cosine}}
  adversarial: {{}}
  ema: {{half_life: 500, ramp_up: 0.3}}
  evaluate_every: {student_every}
  evaluate_samples: 96
{reconstructor}evaluation:
  num_samples: {samples}
  monitor_images: 256
  reference: {{kind: arrays, root: {scans}/test_clean.npy, scale: 1.0}}
engine: {{log_every: 400, checkpoint_every: 1000}}
"""

FIGURES = ("fd", "coverage", "precision", "recall")

DESCRIPTIONS = {
    "brains": "brains without skull, axial, T1",
    "heads": "whole heads with tumours, axial, T1 with contrast agent",
    "knees": "knees, sagittal, proton density with fat suppression",
}


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anatomy", description=__doc__.splitlines()[0])
    parser.add_argument("--anatomy", default="heads", choices=list(FOLDERS))
    parser.add_argument("--size", type=int, default=128, choices=[64, 128])
    parser.add_argument("--coils", type=int, default=8)
    parser.add_argument("--acceleration", type=int, default=4)
    parser.add_argument(
        "--ambient", action="store_true", help="a teacher of the undersampled scans, not of completed ones"
    )
    parser.add_argument("--reconstructor", type=Path, metavar="RUN", help="whose reconstructor completes them")
    parser.add_argument("--reconstructor-images", type=int, default=14_000, help="of an own one, where none is named")
    parser.add_argument("--teacher-images", type=int, default=32_000)
    parser.add_argument("--student-images", type=int, default=6_400)
    parser.add_argument("--samples", type=int, default=189)
    parser.add_argument("--run-dir", type=Path)
    options = parser.parse_args()
    name = f"{options.anatomy}-{options.size}-R{options.acceleration}"
    folder = (options.run_dir or Path("runs") / name).resolve()
    scans = folder / "scans"
    acs = options.size // (2 * options.acceleration)
    _simulate(scans, options, acs)
    protocol = folder / "protocol.yaml"
    protocol.write_text(_protocol(options, scans, acs))

    from rsd_med.train import main as train

    succeed(train, [str(protocol), "--run-dir", str(folder / "run")])
    run = RunFolder(folder / "run")
    metrics = json.loads(run.metrics.read_text())
    curves = [line for line in run.read_metrics_lines() if "fd" in line]
    return conclude(
        f"anatomy-{name}", _figures(run, scans, metrics, options.samples), {"metrics": metrics, "curves": curves}
    )


def _protocol(options: argparse.Namespace, scans: Path, acs: int) -> str:
    """Return the protocol: the reconstructor first, where it is an own one."""
    deep = options.size > 64
    own = ""
    if options.ambient:
        objective = "{kind: ambient_fourier}"
    elif options.reconstructor is not None:
        objective = f"{{kind: completed, reconstructor: {options.reconstructor.resolve()}, mirror: {_mirror(options)}}}"
    else:
        objective = f"{{kind: completed, mirror: {_mirror(options)}}}"
        own = f"reconstructor: {{images: {options.reconstructor_images}, start: fresh}}\n"
    return PROTOCOL.format(
        name=f"{options.anatomy}{options.size}_R{options.acceleration}",
        description=DESCRIPTIONS[options.anatomy],
        scans=scans,
        acs=acs,
        acceleration=options.acceleration,
        further=options.size // options.acceleration // 6,
        channels=[32, 64, 96, 128] if deep else [64, 96, 128],
        attention=str([False, False, False, True] if deep else [False, False, True]).lower(),
        objective=objective,
        reconstructor=own,
        teacher_images=options.teacher_images,
        teacher_every=max(options.teacher_images // 4, 1),
        student_images=options.student_images,
        student_every=max(options.student_images // 8, 1),
        samples=options.samples,
    )


def _mirror(options: argparse.Namespace) -> str:
    """Axial heads and brains are as likely either way; sagittal knees are not."""
    return str(options.anatomy != "knees").lower()


def _simulate(scans: Path, options: argparse.Namespace, acs: int) -> None:
    """Make raw files of both splits where they are not there yet."""
    from rsd_med.simulate import main as simulate

    source = shared_data(FOLDERS[options.anatomy])
    mask = ["--acceleration", str(options.acceleration), "--acs-lines", str(acs), "--mask-per-slice"]
    scans.mkdir(parents=True, exist_ok=True)
    side = max(options.size, _SMALLEST[options.anatomy])
    np.save(scans / "train.npy", np.repeat(np.load(source / f"train_{side}.npz")["images"], 2, axis=0))
    np.save(scans / "test.npy", np.load(source / f"test_{side}.npz")["images"])
    shape = ["--size", str(options.size), "--coils", str(options.coils), "--varied"]
    for split, images, extra in (
        ("train", "train", [*mask, "--sigma", "0.015"]),
        ("test", "test", ["--fully-sampled", "--seed", "4"]),
        ("train_full", "train", ["--fully-sampled"]),
    ):
        if not (scans / split).exists():
            succeed(simulate, [str(scans / f"{images}.npy"), "--out", str(scans / split), *shape, *extra])
        if split != "train" and not (scans / f"{split}_clean.npy").exists():
            _write_images(scans / split, scans / f"{split}_clean.npy", acs)


def _write_images(files: Path, path: Path, acs: int) -> None:
    """Write the coil-combined images of complete scans, in scaled units: without noise there is nothing to whiten."""
    corruption = MultiCoilFourierSettings(acceleration=4, acs_lines=acs).build()
    data = MeasurementDataset(FastMRIHDF5(files), corruption, 0, CalibrationSettings(noise="none"), cache_bytes=0)
    np.save(path, torch.cat([data.reference(number) for number in range(len(data))]).numpy())


_SMALLEST = {"brains": 64, "heads": 128, "knees": 128}
"""Sides of the smallest images of each set, in pixels."""


def _figures(run: RunFolder, scans: Path, metrics: dict[str, Any], samples: int) -> list[Figure]:
    """Hold student and teacher against the test split, beside the floor, by two extractors."""
    from rsd_med.evaluation.generation import draw_images, student_draw
    from rsd_med.opened_run import open_run
    from rsd_med.workflow import load_models

    experiment = open_run(run)
    assert experiment.reference is not None
    clean = open_run(run, reference=scans / "train_full_clean.npy").reference
    assert clean is not None
    test, generator = magnitude_view(experiment.reference), generator_for(0, "distances")
    # Each image is there twice.
    order = 2 * torch.randperm(len(clean) // 2, generator=generator_for(0, "floor"))[:samples]
    sets = {"floor": clean[order]}
    _, student = load_models(experiment, run)
    assert student is not None
    draw = student_draw(student, experiment.protocol.student.few_steps)
    sets["student"] = draw_images(draw, experiment.objective, experiment.sampling_operators, samples, seed=1)
    # A second opinion whose features have nothing to do with the first's. A teacher takes minutes to draw as many:
    # what the run has measured of it has to do.
    extractors: dict[str, FeatureExtractor] = {
        "random-conv": RandomConvSettings().build(),
        "pca-48": PCAFeatures(test, 48),
    }
    measured = metrics["teacher"][metrics["best_teacher"]]
    figures = [Figure(f"random-conv: teacher.{key}", measured[key]) for key in FIGURES]
    for extractor, features in extractors.items():
        for name, images in sets.items():
            answer = dict(compare(magnitude_view(images), test, features, generator))
            figures += [Figure(f"{extractor}: {name}.{key}", float(str(answer[key]))) for key in FIGURES]
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
