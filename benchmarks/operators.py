"""How fast the scan operator is, against a bare pair of Fourier transforms and against other packages.

Everything is timed in one run, in turns, so that what else the machine does strikes all alike; minima are compared,
medians recorded. On a busy machine two threads wait for each other and a wall clock says little: `--clock cpu` counts
the processor time of one thread instead. `python -m benchmarks.operators [--seconds S] [--clock wall|cpu]`
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import Figure, conclude
from benchmarks.operator_peers import peers
from rsd_med.base.draws import Draws
from rsd_med.operators import MultiCoilFourier
from rsd_med.operators.masks import MaskDesign, random_masks

BOUNDS = {(32, 4, 64, 64): 0.7, (8, 4, 320, 320): 0.95, (1, 15, 320, 320): 1.2}
ROUND_TRIP_BOUND = 2.5
PEER_BOUND = 2.0
AGREEMENT = 1e-5

Clock = Callable[[], float]


def main() -> int:
    """Time every size and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operators", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each size (default 10)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="wall: two threads; cpu: one thread")
    arguments = parser.parse_args()
    threads = 2 if arguments.clock == "wall" else 1
    torch.set_num_threads(threads)
    clock = time.perf_counter if arguments.clock == "wall" else time.thread_time
    load = os.getloadavg()[0]
    figures: list[Figure] = []
    details: dict[str, Any] = {"clock": arguments.clock, "threads": threads, "load_before": load, "sizes": {}}
    for shape, bound in BOUNDS.items():
        found, record = measure(shape, bound, arguments.seconds, clock)
        figures += found
        details["sizes"]["x".join(map(str, shape))] = record
    details["load_after"] = os.getloadavg()[0]
    return conclude("operators" if arguments.clock == "wall" else "operators-cpu", figures, details)


def measure(
    shape: tuple[int, int, int, int], bound: float, seconds: float, clock: Clock
) -> tuple[list[Figure], dict[str, Any]]:
    """Time one size ``(b, coil, y, x)``; return its figures, and all times in milliseconds."""
    mask, maps, image, kspace = example(shape)
    scan = MultiCoilFourier(mask, maps)
    expected = scan.normal(image)
    others, skipped = peers(mask, maps, image)
    for sentence in skipped:
        print(sentence)
    for other in others:
        error = float((other.image(other.round_trip()) - expected).norm() / expected.norm())
        if not error < AGREEMENT:
            raise AssertionError(f"{other.name} computes something else: relative difference {error:.1e}")
    runs: dict[str, Callable[[], Any]] = {
        "bare pair": lambda: torch.fft.ifft2(torch.fft.fft2(kspace)),
        "normal": lambda: scan.normal(image),
        "forward+adjoint": lambda: scan.H(scan(image)),
    } | {other.name: other.round_trip for other in others}
    times = in_turns(runs, seconds, clock)
    least = {name: min(values) for name, values in times.items()}
    size = "x".join(map(str, shape))
    pair, round_trip = least["bare pair"], least["forward+adjoint"]
    figures = [
        Figure(f"{size} normal / bare pair", least["normal"] / pair, bound),
        Figure(f"{size} forward+adjoint / bare pair", round_trip / pair, ROUND_TRIP_BOUND),
    ]
    if others:
        fastest = min((other.name for other in others), key=least.__getitem__)
        ratio = least[fastest] / round_trip
        figures.append(Figure(f"{size} {fastest} / forward+adjoint", ratio, PEER_BOUND, at_most=False))
    milliseconds = {
        name: {"min": 1e3 * min(values), "median": 1e3 * statistics.median(values), "rounds": len(values)}
        for name, values in times.items()
    }
    return figures, {"milliseconds": milliseconds, "skipped": skipped}


def example(shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return mask (random lines, R = 4, 8 % of them ACS), normalised maps, image and k-space from a fixed seed."""
    items, _, _, width = shape
    generator = Draws().manual_seed(0)
    maps = torch.randn(shape, dtype=torch.complex64, generator=generator)
    maps /= maps.abs().square().sum(dim=1, keepdim=True).sqrt()
    mask = random_masks(MaskDesign(width, 4, round(0.08 * width)), items, generator)[:, None, None]
    image = torch.randn(items, 1, *shape[2:], dtype=torch.complex64, generator=generator)
    return mask, maps, image, torch.randn(shape, dtype=torch.complex64, generator=generator)


def in_turns(
    runs: dict[str, Callable[[], Any]], seconds: float, clock: Clock, least_rounds: int = 6
) -> dict[str, list[float]]:
    """Time functions in turns for a while, each three times a turn so that it meets a warm cache."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < least_rounds or time.perf_counter() < end:
        for name, run in runs.items():
            for _ in range(3):
                start = clock()
                run()
                times[name].append(clock() - start)
        rounds += 1
    return {name: values[3:] for name, values in times.items()}


if __name__ == "__main__":
    sys.exit(main())
