"""The protocols that come along, on networks and data that take a test no time."""

import json
from pathlib import Path

import numpy as np

from rsd_med.experiment import Experiment
from rsd_med.protocol import load_protocol

FOLDER = Path(__file__).parents[1] / "protocols"
PUBLISHED = sorted(path.stem for path in FOLDER.glob("*.yaml"))

NARROW = {
    "ddpmpp": {"features": 4, "residual_blocks": 1, "multipliers": (1, 1), "attention": (False, True)},
    "monai_unet": {"channels": (4, 4), "attention": (False, True), "norm_groups": 2},
    "patch_unet": {"channels": (4, 4), "attention": (False, True)},
}
SIDE = 16
SCANS = f"{{kind: knee_phantom, num_images: 8, size: {SIDE}, coils: 2, supersample: 1}}"
MASKS = ["corruption.acs_lines=2", "corruption.further_lines=1"]
"""Of so few columns the published number would leave nothing to remove."""


def published(name: str, folder: Path, *overrides: str, batch: int = 4) -> Experiment:
    """Return the experiment of a protocol: its own but for the data, sizes, and the number of weights and images."""
    path = FOLDER / f"{name}.yaml"
    text = path.read_text()
    colours = any(word in name for word in ("cifar", "celeba", "ffhq", "afhq"))
    pictures = folder / f"pictures_{colours}.npy"
    if not pictures.exists():
        shape = (8, SIDE, SIDE, 3) if colours else (8, SIDE, SIDE)
        np.save(pictures, np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32))
    kind = next(kind for kind in NARROW if f"kind: {kind}" in text)
    scans = "kind: multicoil_fourier" in text
    data = SCANS if scans else f"{{kind: arrays, root: {pictures}, range: [-1, 1]}}"
    changes = [
        f"data={data}",
        *(f"backbone.{key}={json.dumps(value)}" for key, value in NARROW[kind].items()),
        f"teacher.batch_size={batch}",
        f"student.batch_size={batch}",
        "evaluation.reference=null",
        "evaluation.monitor_images=4",
        "diffusion.hidden_std=0.1",
        "engine.micro_batch=null",
        *(MASKS if scans else []),
    ]
    return Experiment(load_protocol(path, [*changes, *overrides]), folder)


def alike(name: str) -> tuple[object, ...]:
    """Return what the operations beside a protocol's networks depend on, numbers aside."""
    protocol = load_protocol(FOLDER / f"{name}.yaml")
    corruption, student = protocol.corruption.model_dump(), protocol.student
    return (
        *(corruption[key] if isinstance(corruption[key], str) else bool(corruption[key]) for key in sorted(corruption)),
        protocol.augmentation is None,
        protocol.teacher.objective.kind,
        student.loss.kind,
    )


DIFFERENT = sorted({alike(name): name for name in reversed(PUBLISHED)}.values())
"""One protocol of each kind: the others differ from it in numbers alone."""
