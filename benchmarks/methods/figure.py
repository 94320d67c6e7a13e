"""Samples of a task's methods, a row each, in one window."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.common import RESULTS
from benchmarks.methods.bench import Bench
from rsd_med.metrics.views import magnitude_view
from rsd_med.operators.channels import to_channels

SHOWN = 12
ENLARGED = 3


def draw_figure(bench: Bench, methods: Sequence[str], size: str) -> None:
    """Write the first samples of each method below measurements: ``benchmarks/results/methods-<size>-<task>.png``.

    Brain images are not ours to publish: clean ones and measurements are left out there.
    """
    from matplotlib import pyplot

    rows = {} if bench.task.complex_images else {"measurements": to_channels(bench.own.measurements[:SHOWN].image())}
    for name in methods:
        if not (bench.task.complex_images and name == "floor"):
            rows["clean" if name == "floor" else name] = torch.load(
                bench.folder / "rows" / f"{name}.pt", weights_only=True
            )[:SHOWN]
    figure, axes = pyplot.subplots(len(rows), 1, figsize=(8, 0.75 * len(rows)), squeeze=False)
    for axis, (name, images) in zip(axes[:, 0], rows.items(), strict=True):
        axis.imshow(_strip(images).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.subplots_adjust(left=0.2, right=0.99, top=0.99, bottom=0.01, hspace=0.05)
    figure.savefig(RESULTS / f"methods-{size}-{bench.task.name}.png", dpi=100)
    pyplot.close(figure)


def _strip(images: Tensor) -> Tensor:
    """Lay images in channels side by side, ``(y, n x[, 3])`` in [0, 1]."""
    view = magnitude_view(images)
    strip = torch.cat(list((view.clamp(-1, 1) + 1) / 2), dim=2)
    return strip[0] if len(strip) == 1 else strip.permute(1, 2, 0)
