"""Student against A-DPS, in quality and in processor time, with the priors of a quickstart run.

python -m benchmarks.duel [--run RUN] [--slices N] [--gradient-slices N]

Simulated knees of the test split, 32 x 32, four coils, R = 4, σ = 0.005 of white; truth noise-free. Everything is timed
in turns in one process, as processor time of one thread, and the least of all slices is taken: what else the machine
does changes neither. Eight samples each, as by default; A-DPS of 300 gradient steps, two ways, on fewer slices.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import Figure, conclude
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings
from rsd_med.data.knee_phantom import KneePhantomSettings
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.data.scan import Scan
from rsd_med.inverse.a_dps import ADPSSettings
from rsd_med.inverse.base import Solver
from rsd_med.inverse.student_latent import StudentLatentSettings
from rsd_med.inverse.student_pnp import StudentPnPSettings
from rsd_med.metrics.image_quality import psnr
from rsd_med.operators.fourier import ifft2c
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.prior import load_prior

QUICKSTART = Path("runs/quickstart")
"""Where `make demo` trains it."""
NOISE, ACCELERATION, ACS, SAMPLES = 0.005, 4, 4, 8
STUDENT = "student_pnp"
SLOW = ("a_dps, 300 gradient steps", "a_dps, 300 steps as published")
Slice = tuple[Measurement, Tensor]


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.duel", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=QUICKSTART, help="run of quickstart (default %(default)s)")
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--gradient-slices", type=int, default=1, help="for A-DPS of 300 gradient steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher, student = load_prior(options.run, "teacher"), load_prior(options.run, "student")
    gradient: dict[str, Any] = {"samples": SAMPLES, "steps": 300}
    solvers: dict[str, Solver] = {
        STUDENT: StudentPnPSettings(samples=SAMPLES).build(student),
        "student_pnp, 2 turns": StudentPnPSettings(samples=SAMPLES, iterations=2).build(student),
        "student_latent": StudentLatentSettings(samples=SAMPLES).build(student),
        "a_dps": ADPSSettings(samples=SAMPLES).build(teacher),
        SLOW[0]: ADPSSettings(guidance="likelihood", **gradient).build(teacher),
        SLOW[1]: ADPSSettings(guidance="published", sigma_min=0.004, **gradient).build(teacher),
    }
    slices = knees(options.slices)
    few = options.gradient_slices
    decibels: dict[str, list[float]] = {name: [] for name in solvers}
    seconds: dict[str, list[float]] = {name: [] for name in solvers}
    for number, item in enumerate(slices):
        for name, solver in solvers.items():
            if number < few or name not in SLOW:
                began = time.thread_time()
                decibels[name].append(quality(solver, item))
                seconds[name].append(time.thread_time() - began)
    table = {
        name: {
            "psnr": statistics.mean(values),
            "psnr_few": statistics.mean(values[:few]),
            "slices": len(values),
            "milliseconds": 1e3 * min(seconds[name]),
        }
        for name, values in decibels.items()
    }
    for name, row in table.items():
        print(name, "  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    mine = table[STUDENT]
    figures = []
    for name in ("a_dps", *SLOW):
        behind = table[name]["psnr_few" if name in SLOW else "psnr"] - mine["psnr_few" if name in SLOW else "psnr"]
        bound = 20.0 if name in SLOW else None
        figures += [
            Figure(f"{name} - student_pnp, PSNR in dB", behind, 1.0),
            Figure(f"time of {name} / student_pnp", table[name]["milliseconds"] / mine["milliseconds"], bound, False),
        ]
    return conclude("duel", figures, {"table": table, "samples": SAMPLES})


def knees(count: int) -> list[Slice]:
    """Return measurements of the test split, with the magnitude of the noise-free image in the same units."""
    noisy, clean = (
        KneePhantomSettings(
            num_images=count, size=32, coils=4, sigma=sigma, split="test", weighting="t1", supersample=2, phase=0.8
        ).build(seed=0)
        for sigma in (NOISE, 0.0)
    )
    data = MeasurementDataset(
        noisy,
        MultiCoilFourierSettings(acceleration=ACCELERATION, acs_lines=ACS).build(),
        11,
        CalibrationSettings(noise="none"),
    )
    found = []
    for number in range(count):
        measurement, exact = data[number], clean[number]
        operator = measurement.operator
        assert isinstance(operator, MultiCoilFourier)
        assert isinstance(exact, Scan)
        truth = (operator.maps[0].conj() * ifft2c(exact.kspace)).sum(0, keepdim=True) / measurement.scale
        found.append((dataclasses.replace(measurement, sigma=NOISE / measurement.scale), truth.abs()))
    return found


def quality(solver: Solver, item: Slice) -> float:
    """Return the PSNR of a result, in dB."""
    measurement, truth = item
    found = solver(measurement, generator_for(0, "duel", measurement.ids[0]))
    return psnr(truth, found.magnitude)


if __name__ == "__main__":
    sys.exit(main())
