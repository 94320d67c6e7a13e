"""Two processes against one: images per second, and whether they meet the same data and hold the same weights.

python -m benchmarks.scaling [--steps N] [--rounds N] [--smoke]

Both share one global batch and have one thread each; rounds of one process and of two alternate, so that the load of
the machine falls on both, and the best round of each counts. Inputs of the networks are compared bit for bit, and
all weights of both ranks after every step.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import ROOT, Figure, conclude
from benchmarks.step import experiment
from rsd_med.base.randomness import generator_for
from rsd_med.engine.batches import BatchOrder, load_batch
from rsd_med.engine.distribution import Distribution, connect
from rsd_med.engine.stage import Stage
from rsd_med.experiment import Experiment

BOUND = 1.8


def digest(tensors: list[torch.Tensor]) -> str:
    """Hash tensors."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def prepared(folder: Path, case: str, name: str, distribution: Distribution) -> tuple[Experiment, Stage, BatchOrder]:
    """Build the stage ``name`` on this rank."""
    alone = experiment(case, folder, "cpu")
    built = Experiment(alone.protocol, folder, distribution=distribution)
    teacher = built.teacher_stage()
    stage: Stage = teacher if name == "teacher" else built.student_stage(teacher.average.module)
    return built, stage, BatchOrder(built.dataset.groups(), stage.batch_size, 0, f"{name}/order")


def take(built: Experiment, stage: Stage, order: BatchOrder, number: int) -> None:
    """Take one step on this rank's share of batch ``number``."""
    batch = load_batch(built.dataset, built.distribution.share(order[number]), built.device)
    stage.step(batch, number * stage.batch_size, generator_for(0, stage.name, number))


def worker(folder: Path, case: str, name: str, steps: int) -> None:
    """Warm up, compare, and time ``steps`` steps."""
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
    distribution.wait()
    began, busy = time.perf_counter(), time.process_time()
    for number in range(2, 2 + steps):
        take(built, stage, order, number)
    distribution.wait()
    seconds = time.perf_counter() - began
    worked = max(map(float, distribution.gather_texts([str(time.process_time() - busy)])))
    states = [tensor for part in stage.networks().values() for tensor in part.state_dict().values()]
    equal &= len(set(distribution.gather_texts([digest(states)]))) == 1
    all_inputs = sorted(distribution.gather_texts(inputs))
    if distribution.is_main:
        found = {
            "seconds": seconds,
            "processor_seconds": worked,
            "images": steps * stage.batch_size,
            "equal": equal,
            "inputs": all_inputs,
        }
        (folder / "found.json").write_text(json.dumps(found))
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
        for name in stages:
            found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
            for _ in range(rounds):
                for ranks in (1, 2):
                    found[ranks].append(launch(Path(folder), case, name, steps, ranks))
            rates = {ranks: [run["images"] / run["seconds"] for run in runs] for ranks, runs in found.items()}
            ratio = max(rates[2]) / max(rates[1])
            busy = {ranks: min(run["processor_seconds"] for run in runs) for ranks, runs in found.items()}
            runs = found[1] + found[2]
            same = all(run["inputs"] == runs[0]["inputs"] for run in runs)
            equal = all(run["equal"] for run in found[2])
            details[name] = {"images_per_second": rates, "median_ratio": _ratio(rates), "load": os.getloadavg()}
            details[name]["processor_seconds"] = busy
            figures += [
                Figure(f"{name}: two ranks over one", ratio, None if options.smoke else BOUND, at_most=False),
                # Of the busier rank: what a loaded machine does not spoil, and what leaves the waiting out.
                Figure(f"{name}: two ranks over one, by processor seconds", busy[1] / busy[2]),
                Figure(f"{name}: same inputs (1: yes)", float(same), 1.0, at_most=False),
                Figure(f"{name}: weights equal on both ranks (1: yes)", float(equal), 1.0, at_most=False),
            ]
    return conclude("scaling", figures, {"details": details})


def _ratio(rates: dict[int, list[float]]) -> float:
    return statistics.median(rates[2]) / statistics.median(rates[1])


if __name__ == "__main__":
    sys.exit(main())
