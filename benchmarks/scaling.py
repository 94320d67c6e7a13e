"""Two processes against one: images per second, and whether they meet the same data and hold the same weights.

python -m benchmarks.scaling [--steps N] [--rounds N] [--smoke]

Both share one global batch and have one thread each; rounds of one process and of two alternate, so that the load of
the machine falls on both, and the best round of each counts. What the machine itself gives to two is measured beside
it: the same two processes take the same steps without a word between them, in turn with those that they take together.
Inputs of the networks are compared bit for bit, and all weights of both ranks after every step.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import ROOT, Figure, conclude
from benchmarks.step import choose, experiment
from rsd_med.base.randomness import generator_for
from rsd_med.experiment import Experiment
from rsd_med.runs.distribution import ALONE, Distribution, connect
from rsd_med.training.batches import BatchOrder, load_batch
from rsd_med.training.stage import Stage

BOUND = 1.8
APART_BOUND = 1 / 1.05
"""Ranks may take 5 % longer than processes that share nothing: what those lose is the machine's."""
BLOCK = 10
"""Steps before it is another side's turn."""


def digest(tensors: list[Tensor]) -> str:
    """Hash tensors."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def prepared(
    folder: Path, case: str, name: str, distribution: Distribution, *overrides: str
) -> tuple[Experiment, Stage, BatchOrder]:
    """Build the stage ``name`` on this rank, its networks computed as was found on one process."""
    built = replace(experiment(case, folder, "cpu", *overrides), distribution=distribution)
    teacher = built.teacher_stage()
    stage: Stage = teacher if name == "teacher" else built.student_stage(teacher.ema.module)
    return built, stage, BatchOrder(built.dataset.groups(), stage.batch_size, 0, f"{name}/order")


def take(built: Experiment, stage: Stage, order: BatchOrder, number: int) -> None:
    """Take one step on this rank's share of batch ``number``."""
    batch = load_batch(built.dataset, built.distribution.share(order[number]), built.device)
    stage.step(batch, number * stage.batch_size, generator_for(0, stage.name, number))


def timed(built: Experiment, stage: Stage, order: BatchOrder, numbers: range, all_ranks: Distribution) -> list[float]:
    """Take steps on every rank; return seconds until the last is done, and processor seconds of the busiest rank."""
    all_ranks.wait()
    began, busy = time.perf_counter(), time.process_time()
    for number in numbers:
        take(built, stage, order, number)
    worked = time.process_time() - busy
    all_ranks.wait()
    seconds = time.perf_counter() - began
    return [seconds, max(map(float, all_ranks.gather_texts([str(worked)])))]


def worker(folder: Path, case: str, name: str, steps: int) -> None:
    """Warm up, compare, and time ``steps`` steps; on two ranks also the same steps with each rank by itself."""
    torch.set_num_threads(1)
    distribution = connect()
    built, stage, order = prepared(folder, case, name, distribution)
    inputs: list[str] = []
    equal = True
    for network in (stage.networks()[key] for key in ("teacher_online", "generator") if key in stage.networks()):
        # What the trained network is given: data, corruption, noise and levels, item by item.
        network.register_forward_pre_hook(
            lambda module, given: inputs.extend(digest(list(item)) for item in zip(*given[:2], strict=True))
        )
        for number in range(2):
            take(built, stage, order, number)
            states = [tensor for part in stage.networks().values() for tensor in part.state_dict().values()]
            equal &= len(set(distribution.gather_texts([digest(states)]))) == 1
        network._forward_pre_hooks.clear()
    sides = {"together": (built, stage, order)}
    if distribution.world_size > 1:
        share = f"{name}.batch_size={stage.batch_size // distribution.world_size}"
        sides["apart"] = prepared(folder, case, name, ALONE, share)
        take(*sides["apart"], 0)
    spent = {side: [0.0, 0.0] for side in sides}
    for first in range(2, 2 + steps, BLOCK):
        for side, parts in sides.items():
            found = timed(*parts, range(first, min(first + BLOCK, 2 + steps)), distribution)
            spent[side] = [a + b for a, b in zip(spent[side], found, strict=True)]
    states = [tensor for part in stage.networks().values() for tensor in part.state_dict().values()]
    equal &= len(set(distribution.gather_texts([digest(states)]))) == 1
    all_inputs = sorted(distribution.gather_texts(inputs))
    if distribution.is_main:
        told = {"spent": spent, "images": steps * stage.batch_size, "equal": equal, "inputs": all_inputs}
        (folder / "found.json").write_text(json.dumps(told))
    distribution.close()


def launch(folder: Path, case: str, name: str, steps: int, ranks: int) -> dict[str, Any]:
    """Run workers and return what rank 0 found."""
    program = ["-m", "benchmarks.scaling", "--worker", str(folder), "--case", case, "--stage", name]
    program += ["--steps", str(steps)]
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *start, *program], env=environment, cwd=ROOT, check=True)
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="steps timed in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="one short round, for correctness alone")
    parser.add_argument("--stage", action="append", choices=["teacher", "student"])
    parser.add_argument("--case", default="demo", help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    stages = options.stage or ["teacher", "student"]
    if options.worker:
        worker(options.worker, options.case, stages[0], options.steps)
        return 0
    case, rounds, steps = ("smoke", 1, 2) if options.smoke else (options.case, options.rounds, options.steps)
    figures: list[Figure] = []
    details: dict[str, Any] = {"load_before": os.getloadavg(), "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        torch.set_num_threads(1)
        details["trials"] = {str(trial.compute_options): trial.seconds for trial in choose(case, Path(folder), "cpu")}
        for name in stages:
            found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
            for _ in range(rounds):
                for ranks in (1, 2):
                    found[ranks].append(launch(Path(folder), case, name, steps, ranks))
            runs_of = {"one": found[1], "two": found[2], "two apart": found[2]}
            spent = {
                kind: [run["spent"]["apart" if kind == "two apart" else "together"] for run in runs]
                for kind, runs in runs_of.items()
            }
            rates = {
                kind: [run["images"] / seconds for run, (seconds, _) in zip(runs_of[kind], spent[kind], strict=True)]
                for kind in spent
            }
            best = {kind: max(values) for kind, values in rates.items()}
            busy = {kind: min(worked for _, worked in pairs) for kind, pairs in spent.items()}
            runs = found[1] + found[2]
            same = all(run["inputs"] == runs[0]["inputs"] for run in runs)
            equal = all(run["equal"] for run in found[2])
            details[name] = {"images_per_second": rates, "load": os.getloadavg()}
            details[name]["processor_seconds"] = busy
            figures += [
                Figure(
                    f"{name}: two ranks over one", best["two"] / best["one"], None if options.smoke else BOUND, False
                ),
                Figure(f"{name}: two processes without a word between them over one", best["two apart"] / best["one"]),
                Figure(
                    f"{name}: two ranks over those two",
                    best["two"] / best["two apart"],
                    None if options.smoke else APART_BOUND,
                    at_most=False,
                ),
                # Of the busier rank: what a loaded machine does not spoil, and what leaves the waiting out.
                Figure(f"{name}: two ranks over one, by processor seconds", busy["one"] / busy["two"]),
                Figure(f"{name}: two apart over one, by processor seconds", busy["one"] / busy["two apart"]),
                Figure(f"{name}: same inputs (1: yes)", float(same), 1.0, at_most=False),
                Figure(f"{name}: weights equal on both ranks (1: yes)", float(equal), 1.0, at_most=False),
            ]
    return conclude("scaling", figures, {"details": details})


if __name__ == "__main__":
    sys.exit(main())
