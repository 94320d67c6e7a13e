"""How often a step waits for its GPU, and into how many graphs it compiles: ``python -m benchmarks.graphs [--write]``.

Every published protocol is asked, on small networks and data (tests/published.py). Waits are those of the second step
of each stage on a simulated GPU. Graphs are what torch's tracer makes on the CPU; one is the best there is. Objective
and student loss are traced around a network of one layer, with their random numbers and masks drawn beforehand, since
the tracer takes no generator; the networks are counted by themselves. ``--write`` puts the table into docs/scaling.md.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import Figure, conclude
from benchmarks.costs import table, write_between
from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.backbones import LearningNetwork
from rsd_med.operators.channels import to_channels
from rsd_med.training.batches import load_batch
from rsd_med.training.stage import Stage
from tests.published import DIFFERENT, PUBLISHED, alike, published
from tests.traced import parts
from tests.virtual_gpu.gpu import VirtualGPU

HEADING = ["protocols", "waits in a step, teacher and student", "network", "objective", "student loss"]
MARKS = "<!-- counted by benchmarks.graphs -->\n", "<!-- end of what graphs counts -->"


def waits(name: str, folder: Path) -> list[int]:
    """Count the waits of the second step of both stages, copies that are waited for among them."""
    counts = []
    with VirtualGPU() as gpu:
        built = published(name, folder, "engine.device=cuda", "engine.compile=false")
        teacher = built.teacher_stage()
        batch = load_batch(built.dataset, built.main_group[:4], built.device)
        stages: list[Stage] = [teacher, built.student_stage(teacher.ema.module)]
        for stage in stages:
            for number in range(2):
                before = _waits(gpu)
                stage.step(batch, 4 * number, generator_for(0, "step", number, device=built.device))
            counts.append(_waits(gpu) - before)
    return counts


def _waits(gpu: VirtualGPU) -> int:
    return sum(counter.total() for counter in (gpu.waits, gpu.to_host, gpu.to_device))


def graphs(name: str, folder: Path) -> list[int]:
    """Count the graphs of network, objective and student loss; the network learns, with dropout."""
    built = published(name, folder, "diffusion.precision=float32")
    batch = load_batch(built.dataset, built.main_group[:4], built.device)
    items, channels, *sides = to_channels(batch.image()).shape
    network = built.build_denoiser().network
    x = torch.zeros(items, channels + built.objective.context_channels, *sides)
    dropout: list[Any] = []
    if isinstance(network, LearningNetwork):
        dropout = [None, network.dropout_masks(x, generator_for(0, "dropout"))]
    counts = [_count(network.forward, x, torch.zeros(items), *dropout)]
    return counts + [_count(part.traced, part.tape) for part in parts(name, folder)]


def _count(function: Callable[..., Tensor], *given: Any) -> int:
    torch._dynamo.reset()
    return torch._dynamo.explain(function)(*given).graph_count


def row(name: str, counted: dict[str, list[int]]) -> list[str]:
    """Return the line of the table for all protocols that compute as one of them does."""
    names = ", ".join(f"`{one}`" for one in PUBLISHED if alike(one) == alike(name))
    return [names, " and ".join(map(str, counted["waits"])), *map(str, counted["graphs"])]


def main(arguments: list[str] | None = None) -> int:
    """Count, print the table, record it, and write it into docs/scaling.md if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/scaling.md")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", "(?s)Dynamo detected a call to a `functools.lru_cache`")
    counted = {}
    for name in DIFFERENT:
        with tempfile.TemporaryDirectory() as folder:
            counted[name] = {"waits": waits(name, Path(folder)), "graphs": graphs(name, Path(folder))}
        print(f"{name}: {counted[name]}", file=sys.stderr, flush=True)
    text = table(HEADING, [row(name, counted[name]) for name in DIFFERENT])
    print(text, end="\n\n")
    if options.write:
        write_between(MARKS, text)
    figures = [
        Figure("waits in a step, at most", max(max(one["waits"]) for one in counted.values()), 1),
        Figure("graphs of a network, objective or student loss, at most", _most(counted), 1),
    ]
    return conclude("graphs", figures, {"protocols": counted})


def _most(counted: dict[str, dict[str, list[int]]]) -> int:
    return max(max(one["graphs"]) for one in counted.values())


if __name__ == "__main__":
    sys.exit(main())
