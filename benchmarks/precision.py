"""Whether a run in bfloat16 learns what it learns in float32: ``python -m benchmarks.precision``.

Teacher and student of a protocol are trained from the first step to the last on the same draws, in float32 and in
bfloat16. Beside them runs float32 again, with the channels of a pixel side by side in memory: it differs by the order
of its sums alone, and says how far two runs part whatever the precision.

Losses of single steps are heavy-tailed, so curves are compared as the means of their fifths, of the whole run, and on
draws that no step has met. A difference is told as a share of the mean size of the float32 losses, since a student's
loss has both signs.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, Figure, conclude
from benchmarks.step import validation_losses
from rsd_med.base.randomness import generator_for
from rsd_med.experiment import Experiment
from rsd_med.protocol import load_protocol
from rsd_med.training.batches import BatchOrder, load_batch
from rsd_med.training.stage import Stage

WAYS = {
    "float32": ("diffusion.precision=float32", "engine.memory_format=contiguous"),
    "bfloat16": ("diffusion.precision=bfloat16", "engine.memory_format=contiguous"),
    "float32, other sums": ("diffusion.precision=float32", "engine.memory_format=channels_last"),
}
FIFTHS = 5
BOUND = 0.02
FRESH_BATCHES = 20


def main() -> int:
    """Run the benchmark; return 1 if bfloat16 learns otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", default="quickstart")
    parser.add_argument("--teacher-images", type=int, default=2000)
    parser.add_argument("--student-images", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    figures: list[Figure] = []
    details: dict[str, Any] = {}
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            curves = {name: train(options, seed, way, Path(folder)) for name, way in WAYS.items()}
        details[f"seed {seed}"] = curves
        figures += compare(curves, f"seed {seed}")
    return conclude("precision", figures, {"curves": details})


def train(
    options: argparse.Namespace, seed: int, way: tuple[str, ...], folder: Path
) -> dict[str, dict[str, list[float]]]:
    """Train both stages in one way; return the losses of each, step by step, and on fresh draws."""
    lengths = (f"teacher.images={options.teacher_images}", f"student.images={options.student_images}")
    settings = (f"seed={seed}", "engine.compile=false", "engine.device=cpu", "evaluation.reference=null")
    built = Experiment(
        load_protocol(ROOT / "protocols" / f"{options.protocol}.yaml", [*lengths, *settings, *way]), folder
    )
    teacher = built.teacher_stage()
    curves = {"teacher": _steps(built, teacher, seed)}
    fresh = generator_for(seed, "fresh/order").initial_seed() % 2**31
    order = BatchOrder(built.dataset.groups(), teacher.batch_size, fresh, "fresh/order")
    curves["teacher"]["loss on fresh draws"] = validation_losses(built, teacher.ema.module, order, FRESH_BATCHES)
    student = built.student_stage(teacher.ema.module)
    curves["student"] = _steps(built, student, seed)
    print(f"seed {seed}: {' '.join(way)} done", file=sys.stderr, flush=True)
    return curves


def _steps(built: Experiment, stage: Stage, seed: int) -> dict[str, list[float]]:
    """Take every step of a stage; return its losses."""
    order = BatchOrder(built.dataset.groups(), stage.batch_size, seed, f"{stage.name}/order")
    curves: dict[str, list[float]] = {}
    for number in range(-(-stage.images // stage.batch_size)):
        batch = load_batch(built.dataset, order[number], built.device)
        images = number * stage.batch_size
        told = stage.step(batch, images, generator_for(seed, f"{stage.name}/step", images, device=built.device))
        for name in ("loss", "fake_loss"):
            if name in told:
                curves.setdefault(name, []).append(float(told[name]))
    return curves


def compare(curves: dict[str, dict[str, dict[str, list[float]]]], prefix: str) -> list[Figure]:
    """Hold the curves of every way against those of float32."""
    plain = curves["float32"]
    figures = []
    for way in list(WAYS)[1:]:
        bound = BOUND if way == "bfloat16" else None
        for stage, named in plain.items():
            for name, losses in named.items():
                start = f"{prefix}, {stage}, {name}: {way} and float32 apart"
                others = curves[way][stage][name]
                figures.append(Figure(f"{start}, share", apart(losses, others, 1), bound))
                if name != "loss on fresh draws":
                    figures.append(Figure(f"{start} in the worst fifth, share", apart(losses, others, FIFTHS)))
    return figures


def apart(plain: list[float], others: list[float], parts: int) -> float:
    """Return the largest difference of the means of a number of parts, as a share of the size of the plain losses."""
    cuts = [len(plain) * number // parts for number in range(parts + 1)]
    return max(
        abs(statistics.fmean(others[a:b]) - statistics.fmean(plain[a:b])) / statistics.fmean(map(abs, plain[a:b]))
        for a, b in itertools.pairwise(cuts)
    )


if __name__ == "__main__":
    sys.exit(main())
