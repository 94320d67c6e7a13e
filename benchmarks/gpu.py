"""Images per second and use of a GPU in training, against plain eager code: a slot of fifteen minutes, one command.

python -m benchmarks.gpu [--minutes 14] [--out FILE] [--tiny]

Steps of both stages of `cifar10_noise0.2` and `knee_R4` are timed as the product takes them, eager and compiled, on
data of their shapes that are already on the device. Teachers also take them as plain code in the manner of NVlabs' EDM
does: autocast as it comes, gradients made finite one by one, an average in a loop over the weights, a loss that is read
in each step.

The use of the GPU (MFU) is counted operations per second over an H200's peak. Results are written after each
measurement, so that a slot which ends early leaves what it has. ``--tiny`` tries everything on small networks, on any
machine.
"""

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import RESULTS, ROOT
from rsd_med.base.files import write_text
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Measurement
from rsd_med.costs import ImageShape, count_network, shape_of
from rsd_med.diffusion.backbones.layers import GroupNorm
from rsd_med.diffusion.compute import Precision
from rsd_med.experiment import Experiment
from rsd_med.protocol import load_protocol
from rsd_med.runs.run_folder import describe_environment
from rsd_med.training.batches import load_batch
from rsd_med.training.stage import Stage

PEAK: dict[Precision, float] = {"float32": 67e12, "tf32": 395e12, "bfloat16": 790e12}
"""FLOP/s of an H200's dense products."""

PASSES = {"teacher": 3, "student": 11}
"""Forward passes that an image of each stage costs."""

WARM_UP, STEPS, SECONDS = 3, 20, 20.0
"""Steps before the clock runs; steps that are timed, or as many as take so many seconds."""

TINY = ["backbone.features=8", "backbone.residual_blocks=1", "teacher.batch_size=4", "student.batch_size=4"]


@dataclass(frozen=True)
class Way:
    """One way of taking steps.

    Attributes
    ----------
    name
        For people.
    overrides
        What it changes of the protocol.
    plain
        Whether plain eager code takes the steps.
    """

    name: str
    overrides: tuple[str, ...]
    plain: bool = False


EAGER, COMPILED = "engine.compile=false", "engine.compile=true"
WAYS = (
    Way("bfloat16, eager", ("diffusion.precision=bfloat16", EAGER)),
    Way("bfloat16, compiled", ("diffusion.precision=bfloat16", COMPILED)),
    Way("bfloat16, plain code", ("diffusion.precision=bfloat16", EAGER), plain=True),
    Way("bfloat16, compiled, CUDA graphs", ("diffusion.precision=bfloat16", "engine.compile=reduce-overhead")),
    Way("tf32, eager", ("diffusion.precision=tf32", EAGER)),
    Way("float32, plain code", ("diffusion.precision=float32", EAGER), plain=True),
    Way("float32, eager", ("diffusion.precision=float32", EAGER)),
)
"""The most telling first: the slot may end."""


def build(name: str, folder: Path, overrides: tuple[str, ...], tiny: bool) -> Experiment:
    """Return a protocol's experiment on made-up data of its shape."""
    side = 16 if tiny else 320
    if name.startswith("cifar10"):
        side = 16 if tiny else 32
        pictures = folder / "pictures.npy"
        if not pictures.exists():
            images = np.random.default_rng(0).uniform(-1, 1, (8 if tiny else 512, side, side, 3))
            np.save(pictures, images.astype(np.float32))
        data = [f"data={{kind: arrays, root: {pictures}, range: [-1, 1]}}", "evaluation.reference=null"]
    else:
        coils = 2 if tiny else 15
        data = [f"data={{kind: knee_phantom, num_images: 8, size: {side}, coils: {coils}, supersample: 1}}"]
        data += ["corruption.acs_lines=2", "corruption.further_lines=1"] if tiny else []
    small = [*TINY, "engine.micro_batch=2"] if tiny else []
    changes = [*data, "evaluation.monitor_images=4", *small, *overrides]
    return Experiment(load_protocol(ROOT / "protocols" / f"{name}.yaml", changes), folder)


def resident(experiment: Experiment, count: int) -> Measurement:
    """Return a batch on the device; items come more than once if there are fewer."""
    indices = experiment.main_group
    distinct = load_batch(experiment.dataset, indices[:count], experiment.device)
    places = torch.arange(count) % len(distinct)
    return distinct[places.to(experiment.device)]


def product_step(experiment: Experiment, stage: Stage) -> Callable[[int], None]:
    """Return a function that takes one of the product's steps."""
    batch = resident(experiment, stage.batch_size)

    def step(number: int) -> None:
        stage.step(batch, number * stage.batch_size, generator_for(0, "step", number, device=experiment.device))

    return step


def plain_step(experiment: Experiment) -> Callable[[int], None]:
    """Return a function that takes one step of a teacher in plain eager code, on the same network and objective."""
    settings, micro_batch = experiment.protocol.teacher, experiment.protocol.engine.micro_batch
    denoiser = experiment.build_denoiser()
    for module in denoiser.modules():
        if isinstance(module, GroupNorm):
            module.__class__ = nn.GroupNorm  # type: ignore[assignment]  # under autocast, in float32
    average = copy.deepcopy(denoiser).requires_grad_(False)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=1e-4, foreach=False)
    batch = resident(experiment, settings.batch_size)
    size = micro_batch or len(batch)

    def step(number: int) -> None:
        draws = generator_for(0, "step", number, device=experiment.device)
        optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for start in range(0, len(batch), size):
            losses = experiment.objective(denoiser.learning(draws), batch[start : start + size], draws)
            loss = losses.sum() / len(batch)
            torch.autograd.backward(loss)
            total += float(loss.detach())
        for parameter in denoiser.parameters():
            if parameter.grad is not None:
                torch.nan_to_num(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
        optimiser.step()
        with torch.no_grad():
            for one, other in zip(average.parameters(), denoiser.parameters(), strict=True):
                one.copy_(other.lerp(one, 0.999))

    return step


def seconds_of(step: Callable[[int], None], device: torch.device) -> float:
    """Return the mean seconds of a step."""
    for number in range(WARM_UP):
        step(number)
    began, steps = _now(device), 0
    while steps < STEPS and (steps == 0 or time.perf_counter() - began < SECONDS):
        step(WARM_UP + steps)
        steps += 1
    return (_now(device) - began) / steps


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(name: str, stage_name: str, way: Way, folder: Path, tiny: bool) -> dict[str, Any]:
    """Time one way of taking the steps of a stage; return its figures, or why there are none."""
    row = {"protocol": name, "stage": stage_name, "way": way.name}
    experiment = build(name, folder, way.overrides, tiny)
    if experiment.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        settings = getattr(experiment.protocol, stage_name)
        if way.plain:
            step = plain_step(experiment)
        elif stage_name == "teacher":
            step = product_step(experiment, experiment.teacher_stage())
        else:
            step = product_step(experiment, experiment.student_stage(experiment.build_denoiser()))
        seconds = seconds_of(step, experiment.device)
    except Exception as error:  # a way that is not open here must not end the slot
        return row | {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    precision = experiment.compute_options.precision
    shape: ImageShape = shape_of(experiment)
    flops = PASSES[stage_name] * settings.batch_size * count_network(experiment.protocol, shape, precision).flops
    memory = torch.cuda.max_memory_allocated() / 2**30 if experiment.device.type == "cuda" else None
    return row | {
        "images_per_second": settings.batch_size / seconds,
        "flops_per_second": flops / seconds,
        "share_of_h200_peak": flops / seconds / PEAK[precision],
        "memory_gib": memory,
        "device": str(experiment.device),
    }


def plan() -> Iterator[tuple[str, str, Way]]:
    """Yield what is measured, the most telling first."""
    for way in WAYS:
        for name in ("cifar10_noise0.2", "knee_R4"):
            for stage in ("teacher", "student"):
                if not (way.plain and stage == "student"):
                    yield name, stage, way


def main(arguments: list[str] | None = None) -> int:
    """Measure until the slot ends; print a line and rewrite the results after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=14.0, help="no measurement begins after so many")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json", metavar="FILE", help="where results go")
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the script itself")
    options = parser.parse_args(arguments)
    began, rows, left_out = time.perf_counter(), [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, stage, way in plan():
            if time.perf_counter() - began > 60 * options.minutes:
                left_out.append(f"{name}, {stage}, {way.name}")
                continue
            row = measure(name, stage, way, Path(folder), options.tiny)
            rows.append(row)
            speed = row.get("failed") or f"{row['images_per_second']:.4g} images/s, MFU {row['share_of_h200_peak']:.1%}"
            print(f"{name}, {stage}, {way.name}: {speed}", flush=True)
            results = {"command": "python -m benchmarks.gpu", "tiny": options.tiny, "rows": rows, "left_out": left_out}
            write_text(options.out, json.dumps(results | {"environment": describe_environment()}, indent=2) + "\n")
    for what in left_out:
        print(f"{what}: left out, the time was up")
    return 0


if __name__ == "__main__":
    sys.exit(main())
