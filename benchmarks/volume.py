"""A volume of 300 slices: reconstructing it takes no more memory than one of 30.

python -m benchmarks.volume [--slices N] [--size N] [--coils N] [--method M] [--run-dir DIR]

Both volumes are the same phantom slices over and over, simulated as fully sampled raw files in fastMRI's layout, one
file each. `rsd_med.reconstruct` undersamples them (R = 4) and writes NIfTI, pictures and figures, in a process of its
own whose largest resident memory the operating system reports when it ends.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import Figure, conclude, succeed

MIB = 2**20
GROWTH = 32.0
"""MiB: two tenths of one per cent of what 270 more slices would take."""


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.volume", description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=300, help="of the large volume; the small one has a tenth")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--coils", type=int, default=8)
    parser.add_argument("--method", choices=("zero_filled", "cg_sense", "l1_wavelet"), default="cg_sense")
    parser.add_argument("--run-dir", type=Path, help="keep the files here")
    options = parser.parse_args()
    counts = (options.slices // 10, options.slices)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.run_dir or Path(scratch)
        rows = {f"{count} slices": _measure(folder, count, options) for count in counts}
    small, large = (rows[f"{count} slices"] for count in counts)
    growth = large["peak_mib"] - small["peak_mib"]
    figures = [
        Figure(f"peak memory of {counts[1]} slices - of {counts[0]}, MiB", growth, GROWTH),
        Figure(f"peak memory of {counts[1]} slices, MiB", large["peak_mib"]),
        Figure(f"raw k-space of {counts[1]} slices, MiB", large["raw_mib"]),
        Figure(f"slices written of {counts[1]}", large["written"], counts[1], at_most=False),
        Figure("seconds a slice", large["seconds"] / counts[1]),
    ]
    details = {name: getattr(options, name) for name in ("slices", "size", "coils", "method")}
    return conclude("volume", figures, {"runs": rows, **details})


def _measure(folder: Path, count: int, options: argparse.Namespace) -> dict[str, float]:
    """Simulate and reconstruct a volume; return memory, time and what was written."""
    scans, out = folder / f"scans_{count}", folder / f"out_{count}"
    if not scans.exists():
        _simulate(scans, count, options)
    arguments = ["-", str(scans), "--method", options.method, "--acceleration", "4", "--out", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "rsd_med.reconstruct", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"benchmarks.volume: the reconstruction of {count} slices failed")
    return {
        "peak_mib": usage.ru_maxrss / 1024,
        "seconds": time.perf_counter() - began,
        "written": len(list((out / "png").glob("slice_*.png"))),
        "raw_mib": sum(file.stat().st_size for file in scans.glob("*.h5")) / MIB,
    }


def _simulate(scans: Path, count: int, options: argparse.Namespace) -> None:
    from rsd_med.simulate import main as simulate

    scans.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scans.parent) as scratch:
        heads = Path(scratch) / "heads.npy"
        np.save(heads, np.stack([_head(options.size, number / count) for number in range(count)]))
        shape = ["--coils", str(options.coils), "--slices-per-file", str(count)]
        succeed(simulate, [str(heads), "--out", str(scans), *shape, "--fully-sampled", "--sigma", "0.01"])


def _head(size: int, place: float) -> np.ndarray:
    """Return a slice of an ellipsoid with a spot off the middle, uint8; ``place`` in [0, 1) from end to end."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = 0.4 + 0.5 * np.sin(np.pi * (0.1 + 0.8 * place))
    image = np.where((y**2 + (1.3 * x) ** 2) < radius**2, 130.0, 0.0)
    image[((y + 0.3) ** 2 + (x + 0.2) ** 2) < 0.01] = 250
    return image.astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
