"""What a method gives: samples, what they cost, how far they are from clean images. One row a method."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.methods.bench import Bench
from rsd_med.base.files import write_text
from rsd_med.base.randomness import generator_for
from rsd_med.evaluation.generation import BATCH, Draw, draw_images
from rsd_med.experiment import Experiment
from rsd_med.metrics.distances import compare
from rsd_med.metrics.views import magnitude_view

SHOWN = 16
"""Samples kept for the figure."""

TIMED_BATCHES = 4


@dataclass(frozen=True)
class Outcome:
    """A trained generator of images.

    Attributes
    ----------
    draw
        From a view and unit noise to images.
    experiment
        Whose objective and operators the images are drawn under.
    network_calls
        For one image.
    training_images
        What all trainings behind the samples have seen.
    training_seconds
        Their wall-clock time, on a machine that may have done other work.
    """

    draw: Draw
    experiment: Experiment
    network_calls: int
    training_images: int
    training_seconds: float


def measure(bench: Bench, name: str, run: Callable[[Bench], Outcome]) -> dict[str, Any]:
    """Return the row of method ``name``; what was measured before is read, not measured again."""
    folder = bench.folder / "rows"
    path = folder / f"{name}.json"
    if path.exists():
        row: dict[str, Any] = json.loads(path.read_text())
        return row
    outcome = run(bench)
    experiment = outcome.experiment
    images = draw_images(
        outcome.draw, experiment.objective, experiment.sampling_operators, bench.budget.samples, 1000 + bench.seed
    )
    row = distances(bench, images) | {
        "proximal_fd": bench.own.monitor.distance(images),
        "seconds_per_image": time_draws(experiment, {name: outcome.draw})[name],
        "network_calls": outcome.network_calls,
        "training_images": outcome.training_images,
        "training_seconds": outcome.training_seconds,
    }
    keep(folder / f"{name}.pt", images)
    write_text(path, json.dumps(row, indent=2) + "\n")
    return row


def measure_floor(bench: Bench) -> dict[str, Any]:
    """Return the row of clean training images: what a perfect generator would get."""
    path = bench.folder / "rows" / "floor.json"
    if not path.exists():
        source, _ = bench.experiment("floor", {"evaluation.reference": bench.clean_source("train")})
        clean = source.reference
        assert clean is not None
        images = clean[torch.randperm(len(clean), generator=generator_for(0, "floor"))[: bench.budget.samples]]
        keep(path.with_suffix(".pt"), images)
        write_text(path, json.dumps(distances(bench, images), indent=2) + "\n")
    row: dict[str, Any] = json.loads(path.read_text())
    return row


def distances(bench: Bench, images: Tensor) -> dict[str, Any]:
    """Compare images in channels with the clean test split, which no training has seen."""
    reference = bench.own.reference_view()
    assert reference is not None
    chosen = reference[torch.randperm(len(reference), generator=generator_for(0, "reference"))[: bench.budget.samples]]
    # Natural images end at black and white, and are stored so.
    view = magnitude_view(images) if bench.task.complex_images else images.clamp(-1, 1)
    found: dict[str, Any] = dict(compare(view, chosen, bench.own.extractor, generator_for(0, "distances")))
    if bench.classifier is not None:
        other = compare(view, chosen, bench.classifier, generator_for(0, "distances"))
        found |= {f"classifier_{key}": value for key, value in other.items() if not key.startswith("num_")}
    return found


def keep(path: Path, images: Tensor) -> None:
    """Keep the first images for the figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(images[:SHOWN].clone(), path)


def time_draws(experiment: Experiment, draws: dict[str, Draw]) -> dict[str, float]:
    """Return the seconds of an image of each draw.

    Batches are drawn in turn, so that all draws meet the same machine; the fastest batch of each counts.
    """
    best = dict.fromkeys(draws, float("inf"))
    for _ in range(TIMED_BATCHES):
        for name, draw in draws.items():
            began = time.perf_counter()
            draw_images(draw, experiment.objective, experiment.sampling_operators, BATCH, seed=0)
            best[name] = min(best[name], (time.perf_counter() - began) / BATCH)
    return best
