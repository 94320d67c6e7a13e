"""Shared data sets at the size of a task: clean files that a protocol corrupts, and clean references."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.common import shared_data, succeed
from benchmarks.methods.tasks import Task

TRAIN_LIMIT = 20_000


def load_pictures(name: str, split: str) -> tuple[Tensor, Tensor]:
    """Load MNIST (padded to 32²) or CIFAR-10 with labels: ``(n, c, 32, 32)`` uint8 and ``(n,)``."""
    folder = shared_data(name)
    if name == "mnist":
        stored = np.load(folder / "mnist.npz")
        images = torch.from_numpy(stored[f"x_{split}"][:TRAIN_LIMIT])[:, None]
        return functional.pad(images, (2, 2, 2, 2)), torch.from_numpy(stored[f"y_{split}"][:TRAIN_LIMIT]).long()
    from rsd_med.data.image_folder import ImageFolderSettings

    pictures: list[Tensor] = []
    labels: list[int] = []
    for label in range(10):
        source = ImageFolderSettings(root=str(folder), include=f"{split}_c{label}_*.webp", tile=(32, 32)).build()
        pictures += [((source[i].image + 1) * 127.5).round().to(torch.uint8) for i in range(len(source))]
        labels += [label] * len(source)
    return torch.stack(pictures), torch.tensor(labels)


def prepare(task: Task, side: int, folder: Path) -> Path:
    """Write the task's data below ``folder`` once; return where they are.

    Returns
    -------
    Path
        For pictures a folder with ``train.npy`` and ``test.npy``, ``(n, side, side[, 3])`` uint8, and their labels;
        for k-space one with raw files ``train`` (undersampled, nothing else in them), ``test`` and ``train_full``.
    """
    if task.complex_images:
        return _prepare_kspace(task, side, folder / f"{task.data}{side}_R{task.acceleration}")
    target = folder / f"{task.data}{side}"
    for split in ("train", "test"):
        if (target / f"{split}_labels.npy").exists():
            continue
        target.mkdir(parents=True, exist_ok=True)
        images, labels = load_pictures(task.data, split)
        small = functional.interpolate(images.float(), (side, side), mode="bilinear", antialias=True)
        stored = small.round().clamp(0, 255).to(torch.uint8)
        np.save(target / f"{split}.npy", stored.permute(0, 2, 3, 1).squeeze(-1).numpy())
        np.save(target / f"{split}_labels.npy", labels.numpy())
    return target


def _prepare_kspace(task: Task, side: int, target: Path) -> Path:
    from rsd_med.simulate import main as simulate

    source = shared_data("brain_t1_axial_oasis")
    lines = task.corruption["acs_lines"]
    undersampled = ["--acceleration", str(task.acceleration), "--acs-lines", str(lines), "--mask-per-slice"]
    for split, extra in (
        ("train", [*undersampled, "--sigma", "0.005"]),
        ("test", ["--fully-sampled", "--seed", "1"]),
        ("train_full", ["--fully-sampled", "--seed", "2"]),
    ):
        if not (target / split).exists():
            images = source / f"{split.split('_')[0]}_64.npz"
            shape = ["--size", str(side), "--coils", "4"]
            succeed(simulate, [str(images), "--out", str(target / split), *shape, *extra])
    return target
