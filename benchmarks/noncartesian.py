"""Radial and spiral scans of real complex images, simulated by sigpy: ``python -m benchmarks.noncartesian``.

sigpy scans (its NUFFT, its birdcage maps, white noise), the command `rsd_med.reconstruct` reads the file and calibrates
it by itself, and sigpy's own L1WaveletRecon is given the same samples, the true maps and the same λ. The real spiral of
the reviews is taken where it lies in the shared data (``mri_spiral_real``, in the layout of docs/data.md).
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import ROOT, Figure, conclude, shared_data, succeed
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.calibrate import calibrate
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.data.opening import open_scan
from rsd_med.data.scan import Scan
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.operators.nonuniform import to_images, to_samples
from rsd_med.operators.trajectories import radial_trajectory, spiral_trajectory
from rsd_med.reconstruct import main as reconstruct

SIZE, COILS, SIGMA = 96, 8, 0.02
WEIGHT = 3e-3  # the default λ of l1_wavelet
PATHS = {
    "radial": radial_trajectory(48, 2 * SIZE, SIZE),
    "spiral": spiral_trajectory(16, 600, SIZE, turns=3),
}


def main() -> int:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noncartesian", description=__doc__)
    parser.add_argument("--images", type=int, default=2, help="of the shared complex images (default 2)")
    arguments = parser.parse_args()
    images = _images(arguments.images)
    figures = _direct_sum()
    details: dict[str, Any] = {"psnr": {}}
    for name, trajectory in PATHS.items():
        rows = [_compare(image, trajectory) for image in images]
        means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        details["psnr"][name] = rows
        figures += [
            Figure(f"{name}: l1_wavelet minus sigpy's, same maps and λ, dB", means["l1"] - means["sigpy"], -0.3, False),
            Figure(f"{name}: l1_wavelet on a fixed grid minus sigpy's, dB", means["l1 fixed"] - means["sigpy"]),
            *(Figure(f"{name}: PSNR by the {key}, dB", means[key]) for key in means if key.startswith("command ")),
        ]
        for key in [key for key in means if key.startswith("ratio ")]:
            figures.append(Figure(f"{name}: residual over noise, {key[6:]}", max(row[key] for row in rows), 1.5))
    figures += _real()
    details["data"] = f"mri_complex_images, {len(images)} of {SIZE} x {SIZE}, {COILS} coils, sigma {SIGMA}, seed 0"
    return conclude("noncartesian", figures, details)


def _images(count: int) -> list[np.ndarray]:
    """Return central squares with a 99th percentile of 1."""
    import h5py

    with h5py.File(shared_data("mri_complex_images") / "complex_images.h5") as file:
        arrays = [np.asarray(file[name]) for name in sorted(file)[:count]]
    images = []
    for array in arrays:
        image = array[0] if array.ndim == 3 else array
        top, left = ((side - SIZE) // 2 for side in image.shape)
        image = image[top : top + SIZE, left : left + SIZE]
        images.append((image / np.percentile(np.abs(image), 99)).astype(np.complex64))
    return images


def _compare(image: np.ndarray, trajectory: torch.Tensor) -> dict[str, float]:
    """Return the PSNR of every way to the image, and the residual of the command's methods."""
    import sigpy.mri

    maps = sigpy.mri.birdcage_maps((COILS, SIZE, SIZE)).astype(np.complex64)
    maps /= np.sqrt((np.abs(maps) ** 2).sum(0, keepdims=True))
    positions = trajectory.numpy()
    clean = sigpy.mri.linop.Sense(maps, coord=positions, ishape=image.shape)(image)
    draws = np.random.default_rng(0)
    kspace = clean + SIGMA * (draws.standard_normal(clean.shape) + 1j * draws.standard_normal(clean.shape))
    kspace = kspace.astype(np.complex64)
    row: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        arrays = {"kspace": kspace[:, None], "trajectory": positions[None], "matrix": np.array([SIZE, SIZE])}
        np.savez(Path(folder) / "known.npz", sensitivity_maps=maps, **arrays)
        np.savez(Path(folder) / "scan.npz", **arrays)
        (scan,) = open_scan(Path(folder) / "known.npz")
        assert isinstance(scan, Scan)
        found = calibrate(scan, CalibrationSettings(whiten=False))
        for key, shifts in (("l1", True), ("l1 fixed", False)):
            solver = L1WaveletSettings(regularisation=WEIGHT, random_shifts=shifts, wavelet="db4").build()
            result = solver(found.measurement("known"), generator_for(0, "benchmark")).mean[0] * found.scale
            row[key] = _psnr(result.numpy(), image)
        # Ours is in scaled units, and a cell of k-space counts once: the same objective has this λ.
        weight = WEIGHT * found.scale * len(positions) / found.report["sampling"]["covered"]
        theirs = sigpy.mri.app.L1WaveletRecon(kspace, maps, weight, coord=positions, max_iter=100, show_pbar=False)
        row["sigpy"] = _psnr(theirs.run(), image)
        for method in ("zero_filled", "cg_sense", "l1_wavelet", "a_dps"):
            written, ratio = _command(Path(folder), method)
            row[f"command {method}"] = _psnr(written, image)
            if method != "zero_filled":
                row[f"ratio {method}"] = ratio
    return row


def _command(folder: Path, method: str, scan: str = "scan.npz") -> tuple[np.ndarray, float]:
    """Reconstruct a file; return the image, and its residual over the noise."""
    import nibabel

    learned = method == "a_dps"
    run = str(ROOT / "apps" / "inspector" / "demo_model") if learned else "-"
    options = ["--any-size", "--samples", "2"] if learned else []
    out = folder / method
    succeed(reconstruct, [run, str(folder / scan), "--method", method, "--out", str(out), *options])
    volume = json.loads((out / "metrics.json").read_text())["volumes"][0]
    image = np.asarray(nibabel.load(out / "mean.nii.gz").dataobj).squeeze()
    residual = volume["residual"][0]
    # Where the run's calibration knows no noise, five per cent of the data are the limit: the same bound of 1.5 then.
    return image, residual["noise_ratio"] or residual["relative"] * 30


def _direct_sum() -> list[Figure]:
    """Hold the transform and its adjoint, in single precision, against the defining sums in double."""
    import sigpy

    generator = torch.Generator().manual_seed(0)
    trajectory = PATHS["spiral"]
    image = torch.randn(SIZE, SIZE, dtype=torch.complex64, generator=generator)
    samples = torch.randn(len(trajectory), dtype=torch.complex64, generator=generator)
    axis = torch.arange(SIZE, dtype=torch.float64) - SIZE // 2
    y, x = (torch.exp(-2j * math.pi * trajectory[:, n, None] * axis / SIZE) for n in (0, 1))
    forward = torch.einsum("sy,sx,yx->s", y, x, image.to(torch.complex128)) / SIZE
    adjoint = torch.einsum("sy,sx,s->yx", y.conj(), x.conj(), samples.to(torch.complex128)) / SIZE
    theirs = torch.from_numpy(sigpy.nufft(image.numpy(), trajectory.numpy()))
    return [
        Figure("transform against the direct sum", _error(to_samples(image, trajectory), forward), 1e-4),
        Figure("adjoint against the direct sum", _error(to_images(samples, trajectory, (SIZE, SIZE)), adjoint), 1e-4),
        Figure("sigpy's transform against the direct sum", _error(theirs, forward)),
    ]


def _real() -> list[Figure]:
    """Reconstruct the real spiral, where it lies in the shared data."""
    try:
        scan = next(iter(sorted(shared_data("mri_spiral_real").glob("*.h5"))))
    except (SystemExit, StopIteration):
        return []
    with tempfile.TemporaryDirectory() as folder:
        methods = ("cg_sense", "l1_wavelet", "a_dps")
        return [
            Figure(f"real spiral: residual over noise, {method}", _command(Path(folder), method, str(scan))[1], 1.5)
            for method in methods
        ]


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.to(torch.complex128) - expected).norm() / expected.norm())


def _psnr(found: np.ndarray, image: np.ndarray) -> float:
    error = np.abs(found) - np.abs(image)
    return float(20 * np.log10(np.abs(image).max() / np.sqrt((error**2).mean())))


if __name__ == "__main__":
    sys.exit(main())
