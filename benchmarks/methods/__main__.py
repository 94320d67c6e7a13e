"""Every task by every method: the papers' systems and their baselines on the same data, backbone and budget.

python -m benchmarks.methods [--quick] [--tasks …] [--methods …] [--seeds …] [--device …] [--run-dir DIR] [--report]
                             [--student-images N] [--unclipped]

What was measured is kept in the run folder: the same command goes on where it stopped, and prints the table again.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.methods.bench import Bench
from benchmarks.methods.budget import FULL, QUICK
from benchmarks.methods.methods import METHODS, applies
from benchmarks.methods.outcome import measure, measure_floor
from benchmarks.methods.speed import measure_speed
from benchmarks.methods.table import conclude_table
from benchmarks.methods.tasks import TASKS
from rsd_med.base.command import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    return run_command(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny networks and budgets: does it run?")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--student-images", type=int, help="another length of the distillation, a table of its own")
    parser.add_argument("--unclipped", action="store_true", help="nothing clips what students draw, a table of its own")
    parser.add_argument("--report", action="store_true", help="print what was measured so far; train nothing")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    parser.add_argument("--run-dir", type=Path)
    options = parser.parse_args(arguments)
    size, budget = ("quick", QUICK) if options.quick else ("full", FULL)
    if options.unclipped:
        size, budget = f"{size}-unclipped", replace(budget, clip=False)
    if options.student_images is not None:
        size, budget = f"{size}-{options.student_images}", replace(budget, student_images=options.student_images)
    folder = options.run_dir or Path("runs") / f"methods_{size}"
    benches = []
    for seed in options.seeds:
        for task in options.tasks:
            bench = Bench(TASKS[task], seed, budget, folder / task / f"seed{seed}", folder / "data", options.device)
            benches.append(bench)
            if options.report:
                continue
            measure_floor(bench)
            for method in options.methods:
                if applies(method, bench):
                    row = measure(bench, method, METHODS[method])
                    print(f"{task}, seed {seed}, {method}: {row['fd']:.4g}", file=sys.stderr, flush=True)
            measure_speed(bench)
    return conclude_table(benches, size)


if __name__ == "__main__":
    sys.exit(main())
