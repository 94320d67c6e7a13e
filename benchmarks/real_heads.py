"""Two real heads by every method: a prior of whole heads, adapted to the scan or not, beside L1-wavelet and BART.

python -m benchmarks.real_heads [--run RUN] [--adapt N] [--pictures DIR]

A brain of eight coils, 230 x 180 (fastMRI's layout), and a raw Siemens head of sixteen, 128 x 128, both fully sampled,
undersampled to R = 4 and 8 afterwards. RUN holds an ambient teacher and a reconstructor of whole heads, 128 x 128
pixels: the app's demo model, or what `python -m benchmarks.reconstructor --anatomy mixed --images 26000 --no-oracle`
trains. λ of L1-wavelet and of `bart pics` is tuned on the truth. PSNR is over the head, against the coil-combined full
scan; hidden lines are those of `--check`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import ROOT, Figure, conclude, shared_data
from rsd_med.base.progress import silent
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.scan import Scan
from rsd_med.inverse.a_dps import ADPSSettings
from rsd_med.inverse.base import Solver
from rsd_med.inverse.hidden_lines import Candidate, predict
from rsd_med.inverse.hiding import enough_draws, lines_of
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.inverse.reconstructor import ReconstructorSettings
from rsd_med.inverse.scans import Prepared, Undersampling, prepare
from rsd_med.inverse.uncertainty import coverage, rank_correlation
from rsd_med.inverse.zero_filled import ZeroFilledSettings
from rsd_med.metrics.image_quality import ssim
from rsd_med.operators.fourier import ifft2c
from rsd_med.reconstruction import PriorRun
from rsd_med.training.adaptation import AdaptationSettings, AdaptingSolver

DEMO = ROOT / "apps" / "inspector" / "demo_model"
WEIGHTS = (1e-3, 3e-3, 6e-3, 1e-2, 2e-2)
HEAD = 0.1
"""Pixels brighter than this part of the peak count as inside."""


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_heads", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=DEMO, help="holds teacher and reconstructor of heads")
    parser.add_argument("--adapt", type=int, default=100, help="steps (default %(default)s)")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each scan")
    options = parser.parse_args()
    torch.set_num_threads(1)
    learned = _learned(options)
    table: dict[str, Any] = {}
    figures = []
    for name, scan in {"brain": _brain(), "siemens": _siemens()}.items():
        for acceleration in (4, 8):
            label = f"{name}, R = {acceleration}"
            prepared = prepare(scan, Undersampling(acceleration), CalibrationSettings(virtual_coils=8))
            table[label] = rows = _rows(prepared, scan, learned, options.pictures, label)
            for method, row in rows.items():
                print(
                    f"{label:16s} {method:22s}",
                    "  ".join(f"{key} {value:.4g}" for key, value in row.items()),
                    flush=True,
                )
            classical = max(row["psnr"] for method, row in rows.items() if method not in learned)
            best = max(learned, key=lambda method: rows[method]["psnr"])
            chosen = min((method for method in rows if "hidden" in rows[method]), key=lambda one: rows[one]["expected"])
            figures += [
                Figure(
                    f"{label}: best learned ({best}) - best classical, dB", rows[best]["psnr"] - classical, 1.0, False
                ),
                Figure(
                    f"{label}: chosen by hidden lines ({chosen}) - best classical, dB",
                    rows[chosen]["psnr"] - classical,
                    0.0,
                    False,
                ),
            ]
    name = "real_heads-demo" if options.run == DEMO else "real_heads"
    return conclude(name, figures, {"table": table, "adapt": options.adapt})


def _learned(options: argparse.Namespace) -> dict[str, Solver]:
    run = PriorRun(options.run, "cpu")
    teacher, own = (replace(run.network(name), any_size=True) for name in ("teacher", "reconstructor"))
    settings = ReconstructorSettings()
    return {
        "a_dps": ADPSSettings().build(teacher),
        "reconstructor": settings.build(own),
        "reconstructor, adapted": AdaptingSolver(settings, own, AdaptationSettings(steps=options.adapt)),
    }


def _brain() -> Scan:
    scan = FastMRIHDF5(shared_data("fastmri_format") / "real_brain_8ch.h5")[0]
    assert isinstance(scan, Scan)
    return scan


def _siemens() -> Scan:
    """Return the raw head as it stands in the file."""
    import h5py

    with h5py.File(shared_data("mri_kspace_real_2") / "brain_16ch_flash_siemens.h5") as file:
        kspace = torch.from_numpy(file["kspace"][()]).to(torch.complex64)
    return Scan("siemens", kspace, torch.ones(kspace.shape[-1], dtype=torch.bool))


def _rows(
    prepared: Prepared, scan: Scan, learned: dict[str, Solver], pictures: Path | None, label: str
) -> dict[str, dict[str, float]]:
    """Return the figures of every method."""
    measurement, calibrated = prepared.measurement, prepared.scan
    full = calibrated.coils(scan.kspace) / calibrated.scale
    truth = (calibrated.maps.conj() * ifft2c(full)).sum(0, keepdim=True).abs()
    inside = truth > HEAD * truth.max()
    solvers: dict[str, Solver] = {"zero_filled": ZeroFilledSettings().build()}
    solvers |= {f"l1_wavelet {weight:g}": L1WaveletSettings(regularisation=weight).build() for weight in WEIGHTS}
    solvers |= learned
    draws = enough_draws(lines_of(measurement), 3)
    candidates = [Candidate(name.split()[0].rstrip(","), solver) for name, solver in solvers.items()]
    errors = predict(measurement, candidates, draws, 0, silent)
    rows: dict[str, dict[str, float]] = {}
    images = {"full scan": truth}
    for (name, solver), error in zip(solvers.items(), errors, strict=True):
        result = solver(measurement, generator_for(0, "benchmark", name))
        image = images[name] = result.magnitude
        rows[name] = _quality(image, truth, inside) | {"hidden": error.relative, "expected": error.expected}
        rows[name]["seconds"] = result.seconds
        if result.std is not None and result.interval is not None:
            rows[name]["coverage"] = coverage(result.interval, truth, inside)
            rows[name]["rank"] = rank_correlation(result.std, (image - truth).abs(), inside)
    for weight, image in _bart(prepared).items():
        rows[f"bart {weight:g}"] = _quality(image, truth, inside)
    if pictures is not None:
        best = max((name for name in rows if name.startswith("l1")), key=lambda name: rows[name]["psnr"])
        _picture(
            [images[name] for name in ("full scan", best, *learned)], pictures / f"{label.replace(', R = ', '_R')}.png"
        )
    return rows


def _quality(image: Tensor, truth: Tensor, inside: Tensor) -> dict[str, float]:
    error = (image - truth)[inside].square().mean().sqrt()
    return {"psnr": 20 * float(torch.log10(truth.max() / error)), "ssim": ssim(truth, image)}


def _bart(prepared: Prepared) -> dict[float, Tensor]:
    """Return BART's images by λ, magnitudes ``(1, y, x)`` in scaled units, with our maps; none without BART."""
    if shutil.which("bart") is None:
        print("skipped: BART is not installed, nothing is compared with it")
        return {}
    from rsd_med.data.cfl import open_cfl
    from rsd_med.data.writing.cfl import CflWriter

    images = {}
    operator = prepared.measurement.operator
    assert operator.coil_maps is not None
    maps = operator.coil_maps[0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, array in (("kspace", prepared.measurement.data[0]), ("maps", maps if maps.ndim == 3 else maps[0])):
            with CflWriter(folder / f"{name}.cfl") as file:
                file.add(array)
        for weight in WEIGHTS:
            _run(folder, "pics", "-S", "-l1", f"-r{weight}", "-i100", "kspace", "maps", "image")
            images[weight] = torch.from_numpy(open_cfl(folder / "image.cfl").copy()).squeeze()[None].abs()
    return images


def _run(folder: Path, *words: str) -> None:
    subprocess.run(["bart", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _picture(images: list[Tensor], target: Path) -> None:
    from PIL import Image

    target.parent.mkdir(parents=True, exist_ok=True)
    white = float(images[0].max())
    pixels = (torch.cat([image[0] for image in images], 1) / white * 255).clamp(0, 255).to(torch.uint8).numpy()
    Image.fromarray(pixels).save(target)


if __name__ == "__main__":
    sys.exit(main())
