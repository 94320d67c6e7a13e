"""A run folder as training leaves it, filled with simulated knees instead of a trained model's samples."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.multicoil_fourier import MultiCoilFourierSettings
from rsd_med.data.knee_phantom import KneePhantomSettings
from rsd_med.operators.channels import to_channels
from rsd_med.runs.grids import save_gallery, save_grid
from rsd_med.runs.run_folder import RunFolder

PROTOCOL = """\
schema_version: 1
name: quickstart
seed: 0
data:
  kind: knee_phantom
  num_images: 2000
  size: 32
  coils: 4
  sigma: 0.005
  split: train
corruption:
  kind: multicoil_fourier
  acceleration: 4.0
  acs_lines: 4
  pattern: random
  mask: draw
  further_lines: null
  sigma: 0.0
teacher:
  objective:
    kind: ambient_fourier
  images: 60000
  batch_size: 32
student:
  loss:
    kind: sid
    alpha: 1.2
  images: 20000
  batch_size: 32
  sigma_init: 2.5
"""
# fmt: off
METRICS = {
    "teacher": {
        "heun": {
            "fd": 5.04, "kid": 0.412, "precision": 0.61, "recall": 0.35, "density": 0.7, "coverage": 0.52,
            "spectrum_deviation": 0.9, "air": 0.04, "proximal_fd": 1.31, "seconds_per_image": 0.0415,
            "network_calls": 35,
        },
    },
    "features": "random-conv-v1-96",
    "num_samples": 1000,
    "num_reference": 500,
    "seed": 0,
    "student": {
        "fd": 1.2432, "kid": 0.0871, "precision": 0.83, "recall": 0.44, "density": 1.12, "coverage": 0.81,
        "spectrum_deviation": 0.15, "air": 0.006, "proximal_fd": 0.644, "seconds_per_image": 0.00124,
        "network_calls": 1,
    },
    "floor": {
        "origin": "training", "num_images": 1000, "num_reference": 500, "fd": 0.4, "kid": 0.01, "precision": 0.9,
        "recall": 0.88, "density": 1.0, "coverage": 0.95, "spectrum_deviation": 0.05, "air": 0.004,
        "spectrum": [1.0, 1.05, 0.98, 1.0, 1.1],
    },
    "reference_air": 0.003,
    "spectrum": {
        "frequencies": [0.25, 0.5, 0.75, 1.0, 1.25],
        "over": {"teacher.heun": [1.0, 0.1, 0.1, 1.0, 2.0], "student": [1.0, 1.1, 0.85, 1.2, 1.5]},
    },
    "memorisation": {
        "model": "student", "baseline": "clean", "near_copies": 3, "num_samples": 500, "share": 0.006,
        "share_low": 0.00204, "share_high": 0.01749, "threshold": 0.71, "num_held_out": 500,
        "expected_share": 6 / 501, "p_value": 0.93,
        "pairs": [{"sample": 12, "measurement": 345, "distance": 0.31, "nearness": 0.55}],
    },
    "best_teacher": "heun",
    "ratio": 0.2467,
    "speedup": 33.47,
    "command": "python -m rsd_med.train protocols/quickstart.yaml",
    "seconds": {"teacher": 214.0, "student": 266.0, "evaluation": 31.0},
}
# fmt: on


@dataclass
class Knees:
    """Pictures like those of a run: clean, zero-filled, and something between for teacher and student."""

    reference: torch.Tensor
    measurements: torch.Tensor
    teacher: torch.Tensor
    student: torch.Tensor


@pytest.fixture(scope="session")
def knees() -> Knees:
    return draw_knees(16, 32)


def draw_knees(count: int, size: int) -> Knees:
    source = KneePhantomSettings(num_images=2 * count, size=size).build()
    corruption = MultiCoilFourierSettings(acceleration=4, acs_lines=4).build()
    clean = torch.stack([source.complex_image(i)[None] for i in range(2 * count)])
    maps = torch.stack([source.maps(i) for i in range(2 * count)])
    generator = generator_for(0, "masks")
    from rsd_med.operators.mri import MultiCoilFourier

    masks = torch.stack([corruption.draw_mask(size, generator)[None, None] for _ in range(2 * count)])
    operator = MultiCoilFourier(masks, maps)
    filled = to_channels(operator.adjoint(operator(clean)))
    clean = to_channels(clean)
    noise = 0.02 * torch.randn(clean.shape, generator=generator)
    repeat = (4, 1, 1, 1)
    return Knees(
        reference=clean[:count].repeat(repeat),
        measurements=filled[:count].repeat(repeat),
        teacher=(0.55 * clean + 0.45 * filled + noise)[count:].repeat(repeat),
        student=(0.95 * clean + 0.05 * filled)[count:].repeat(repeat),
    )


@pytest.fixture
def run(tmp_path: Path, knees: Knees) -> RunFolder:
    return fill_run(tmp_path / "quickstart-1", knees)


@pytest.fixture
def empty_run(tmp_path: Path) -> RunFolder:
    folder = tmp_path / "begun"
    folder.mkdir()
    return RunFolder(folder)


def fill_run(path: Path, knees: Knees) -> RunFolder:
    run = RunFolder(path)
    run.create(PROTOCOL, PROTOCOL, seed=0, base_dir=path)
    for name in ("reference", "measurements", "student"):
        save_gallery(run.samples / "gallery", name, getattr(knees, name))
    save_gallery(run.samples / "gallery", "teacher.heun", knees.teacher)
    for name, images in (("samples", knees.student), ("seen", knees.teacher), ("measurements", knees.measurements)):
        save_gallery(run.samples / "audit", name, images[:8])
    write_lines(run, "teacher", 60000)
    write_lines(run, "student", 20000)
    generator = generator_for(0, "latents")
    noise = torch.randn(knees.student.shape, generator=generator)
    for stage, total, kept in (("teacher", 60000, 3), ("student", 20000, 10)):
        for i in range(1, kept + 1):
            share = 0.6 ** (6 * i / kept)
            save_grid(
                knees.student * (1 - share) + 0.4 * share * noise, run.samples / f"{stage}_{total * i // kept:010d}.png"
            )
    run.metrics.write_text(json.dumps(METRICS))
    run.set_status("done", command=METRICS["command"], seconds=512.0)
    return run


def write_lines(run: RunFolder, stage: str, total: int) -> None:
    """Write log lines whose student is best at 80 % of the way."""
    generator = generator_for(0, "lines", stage)
    wobble = torch.randn(80, generator=generator).tolist()
    for i in range(1, 41):
        images, done = total * i // 40, i / 40
        figures = {
            "gradient_norm": 1.0,
            "skipped": 0.0,
            "seconds": total / 40 / 90,
            "images_per_second": 90 + 3 * wobble[i],
        }
        if stage == "teacher":
            figures["loss"] = 900 * math.exp(-9 * done) + 60 + wobble[i]
        else:
            figures["loss"] = 120 * math.exp(-3 * done) * (1 + 0.3 * wobble[i]) - 20
            figures["fake_loss"] = 75 + 5 * wobble[i + 39]
        run.append_metrics({"stage": stage, "images": images, **figures})
        if i % 4 == 0:
            distance = 12 * math.exp(-5 * done) + (0.66 if stage == "student" else 1.3) + 0.6 * max(0.0, done - 0.8)
            line = {"stage": stage, "images": images, "proximal_fd": distance, "evaluation_seconds": 2.0}
            run.append_metrics(line)


@pytest.fixture
def replace_metrics():
    """Change ``metrics.json`` in place."""

    def change(run: RunFolder, edit) -> None:
        metrics = json.loads(run.metrics.read_text())
        edit(metrics)
        run.metrics.write_text(json.dumps(metrics))

    return change
