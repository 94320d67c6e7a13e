"""Coil maps where they are hard to find: ``python -m benchmarks.maps [--only wrap|few|measured]``.

``wrap``: a real head cut to 70 % of its field of view, coil by coil, so that it wraps around. Two maps of each coil,
beside ``bart ecalib -m2`` and ``pics`` on the same whitened data, λ tuned for both on one grid; and one map, which has
to be flagged. ``few``: two real heads at R = 4 and 8 with the default central lines, beside `bart nlinv`'s maps.
``measured``: ESPIRiT's maps beside the ratio of head-coil to body-coil images. PSNR is that of the root sum of squares
over the coils of the full scan.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import Figure, conclude, shared_data
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.calibrate import calibrate
from rsd_med.calibration.coil_maps import NEEDED
from rsd_med.calibration.map_settings import CoilMapSettings
from rsd_med.calibration.phase import normalised
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.scan import Scan
from rsd_med.inverse.base import Reconstruction
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.inverse.scans import Prepared, Undersampling, prepare
from rsd_med.inverse.zero_filled import ZeroFilledSettings
from rsd_med.metrics.image_quality import psnr
from rsd_med.operators.fourier import fft2c, ifft2c
from rsd_med.operators.mri import MultiCoilFourier

WEIGHTS = (1e-3, 3e-3, 1e-2)
CUT = 126
"""Columns that are left of the head's 180."""

FEW_LINES_SETTINGS: dict[str, dict[str, Any]] = {
    "walsh": {"kind": "walsh"},
    "espirit, kernel 6": {"kind": "espirit", "crop": 0.9},
    "espirit, kernel 4": {"kind": "espirit", "kernel_width": 4, "crop": 0.8},
    "espirit, kernel 3": {"kind": "espirit", "kernel_width": 3, "crop": 0.5},
    "nlinv": {"kind": "nlinv"},
}
FEW_LINES_WEIGHTS = (1e-3, 3e-3, 6e-3, 1e-2, 2e-2)


def main() -> int:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maps", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("wrap", "few", "measured"), help="one of the three; nothing is recorded")
    only = parser.parse_args().only
    figures: list[Figure] = []
    tables: dict[str, Any] = {}
    for name, measure in (("wrap", _wrap), ("few", _few), ("measured", _measured)):
        if only in (None, name):
            found, tables[name] = measure()
            figures += found
    if only is not None:
        for figure in figures:
            print(figure.line())
        return 0
    return conclude("maps", figures, {"tables": tables, "weights": WEIGHTS})


def _wrap() -> tuple[list[Figure], dict[str, Any]]:
    """Return the figures of the head that wraps around."""
    scan = _whole("mri_kspace_real/brain_8ch_full.h5", "kspace")
    images, first = ifft2c(scan.kspace), (scan.kspace.shape[-1] - CUT) // 2
    folded = torch.zeros(*images.shape[:-1], CUT, dtype=images.dtype)
    for column in range(images.shape[-1]):
        folded[..., (column - first) % CUT] += images[..., column]
    scan = Scan("wrapped", fft2c(folded), torch.ones(CUT, dtype=torch.bool))
    figures, table = [], {}
    for acceleration in (2, 3, 4):
        prepared = prepare(scan, Undersampling(acceleration, 24))
        one = prepare(scan, Undersampling(acceleration, 24), _maps(sets=1))
        ours = {weight: _psnr(prepared, _l1(prepared, weight)) for weight in WEIGHTS}
        forced = _l1(one, WEIGHTS[1])
        row = {
            "ours": ours,
            "maps": prepared.report["maps"],
            "zero_filled": _psnr(prepared, _solve(prepared, ZeroFilledSettings())),
            "one_map": _psnr(one, forced),
            "one_map_explains": forced.residual.explains,
            "one_map_second_eigenvalue": one.report["maps"]["second_eigenvalue"],
        }
        name = f"wrap, R = {acceleration}"
        figures.append(Figure(f"{name}: two maps, best λ, PSNR in dB", max(ours.values())))
        warned = one.report["maps"]["second_eigenvalue"] > NEEDED or not forced.residual.explains
        figures.append(Figure(f"{name}: one map is warned of, with its cause", float(warned), 1, at_most=False))
        figures.append(Figure(f"{name}: one map is flagged by its residual, too", float(not forced.residual.explains)))
        if shutil.which("bart"):
            row["bart"] = {weight: _psnr(prepared, image) for weight, image in _bart(prepared).items()}
            gain = max(ours.values()) - max(row["bart"].values())
            figures.append(Figure(f"{name}: ours - bart ecalib -m2 and pics, dB", gain, -0.5, at_most=False))
        else:
            print("skipped: BART is not installed, nothing is compared with it")
        print(name, row, flush=True)
        table[f"R{acceleration}"] = row
    return figures, table


def _few() -> tuple[list[Figure], dict[str, Any]]:
    """Return the figures of scans with few central lines: L1-wavelet by maps, best λ, PSNR in the head."""
    brain = FastMRIHDF5(shared_data("fastmri_format") / "real_brain_8ch.h5")[0]
    assert isinstance(brain, Scan)
    figures, table = [], {}
    scans = {"brain": brain, "siemens": _whole("mri_kspace_real_2/brain_16ch_flash_siemens.h5", "kspace")}
    for (head, scan), acceleration in product(scans.items(), (4, 8)):
        undersampling = Undersampling(acceleration)
        prepared = prepare(scan, undersampling, _maps(virtual_coils=8))
        truth = (
            ifft2c(prepared.scan.coils(scan.kspace) / prepared.scan.scale).abs().square().sum(0, keepdim=True).sqrt()
        )
        row = {"zero_filled": _in_the_head(_solve(prepared, ZeroFilledSettings()), truth)}
        for name, words in {"auto": {}, **FEW_LINES_SETTINGS}.items():
            made = prepare(scan, undersampling, _maps(virtual_coils=8, **words))
            row[name] = max(_in_the_head(_l1(made, weight), truth) for weight in FEW_LINES_WEIGHTS)
        if shutil.which("bart"):
            measurement = prepared.measurement
            assert isinstance(measurement.operator, MultiCoilFourier)
            operator = MultiCoilFourier(measurement.operator.mask, _bart_nlinv(prepared)[None])
            there = replace(prepared, measurement=replace(measurement, operator=operator))
            row["bart_nlinv"] = max(_in_the_head(_l1(there, weight), truth) for weight in FEW_LINES_WEIGHTS)
        lines, kind = prepared.report["sampling"]["acs"], prepared.report["maps"]["kind"]
        name = f"{head}, R = {acceleration}, {lines} central lines"
        print(name, kind, row, flush=True)
        table[name] = row | {"auto_took": kind}
        others = [value for key, value in row.items() if key not in ("auto", "zero_filled")]
        figures += [
            Figure(f"{name}: L1-wavelet - zero-filling, dB", row["auto"] - row["zero_filled"], 3, at_most=False),
            Figure(f"{name}: auto - best setting of maps, dB", row["auto"] - max(others), -0.5, at_most=False),
        ]
    return figures, table


def _in_the_head(image: Reconstruction, truth: Tensor) -> float:
    """Return the PSNR over what is brighter than a tenth of the peak."""
    inside = truth > 0.1 * truth.max()
    return 20 * float(torch.log10(truth.max() / (image.magnitude - truth)[inside].square().mean().sqrt()))


def _bart_nlinv(prepared: Prepared) -> Tensor:
    """Return the maps of BART's nonlinear inversion, unit vectors at each pixel, ``(coil, y, x)``."""
    from rsd_med.data.cfl import open_cfl
    from rsd_med.data.writing.cfl import CflWriter

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with CflWriter(folder / "kspace.cfl") as file:
            file.add(prepared.measurement.data[0])
        _run(folder, "nlinv", "-i11", "-S", "kspace", "image", "maps")
        maps = torch.from_numpy(open_cfl(folder / "maps.cfl").copy()).squeeze().movedim(-1, 0)
    return normalised(maps)


def _measured() -> tuple[list[Figure], dict[str, Any]]:
    """Return how like ESPIRiT's maps are to the ratio of head-coil to body-coil images, both made unit vectors."""
    figures, table = [], {}
    for name, prefix in (("head", ""), ("bottle", "phantom_")):
        file = "mri_kspace_real_2/brain_16ch_flash_siemens.h5"
        scan, body = _whole(file, f"{prefix}kspace"), ifft2c(_whole(file, f"{prefix}kspace_bodycoil").kspace)
        maps = calibrate(scan, CalibrationSettings(noise="none")).maps
        # The body coil's two channels as one, of the phase of the first.
        one = body[0]
        ratio = _smooth(ifft2c(scan.kspace) * one.conj())
        measured = ratio / ratio.abs().square().sum(0).sqrt().clamp_min(1e-30)
        strength = body.abs().square().sum(0).sqrt()
        inside = (strength > 0.2 * strength.max()) & (one.abs() > 0.1 * one.abs().max())
        likeness = (maps.conj() * measured).sum(0).abs()
        seen = inside & (maps != 0).any(0)
        row = {
            "pixels": int(inside.sum()),
            "in_the_support": float(seen.sum() / inside.sum()),
            "mean_likeness": float(likeness[seen].mean()),
            "first_percentile": float(likeness[seen].quantile(0.01)),
        }
        print("measured", name, row, flush=True)
        figures.append(
            Figure(f"measured, {name}: mean |<measured, ESPIRiT>|", row["mean_likeness"], 0.99, at_most=False)
        )
        figures.append(Figure(f"measured, {name}: its first percentile", row["first_percentile"]))
        figures.append(Figure(f"measured, {name}: part in the support", row["in_the_support"]))
        table[name] = row
    return figures, table


def _smooth(images: Tensor) -> Tensor:
    """Average over 5 × 5 pixels, over which coils hardly change."""
    parts = torch.view_as_real(images).movedim(-1, 0).flatten(0, 1)[None]
    mean = torch.nn.functional.avg_pool2d(parts, 5, stride=1, padding=2)[0].unflatten(0, (2, -1))
    return torch.complex(mean[0], mean[1])


def _whole(name: str, dataset: str) -> Scan:
    import h5py

    folder, _, file_name = name.partition("/")
    with h5py.File(shared_data(folder) / file_name) as file:
        kspace = torch.from_numpy(file[dataset][()]).to(torch.complex64)
    return Scan(dataset, kspace, torch.ones(kspace.shape[-1], dtype=torch.bool))


def _maps(virtual_coils: int | None = None, **words: Any) -> CalibrationSettings:
    maps = CoilMapSettings(**words)
    return (
        CalibrationSettings(maps=maps)
        if virtual_coils is None
        else CalibrationSettings(maps=maps, virtual_coils=virtual_coils)
    )


def _solve(prepared: Prepared, settings: Any) -> Reconstruction:
    solved: Reconstruction = settings.build()(prepared.measurement, generator_for(0, "benchmark"))
    return solved


def _l1(prepared: Prepared, weight: float) -> Reconstruction:
    return _solve(prepared, L1WaveletSettings(regularisation=weight))


def _psnr(prepared: Prepared, image: Reconstruction | Tensor) -> float:
    assert prepared.reference is not None
    magnitude = image if isinstance(image, Tensor) else image.magnitude
    # Whitening changes the shading, and the reference is in that of the file's coils.
    return psnr(prepared.reference[None], prepared.shown(magnitude) * prepared.scan.scale)


def _bart(prepared: Prepared) -> dict[float, Tensor]:
    """Return BART's images with two maps, magnitudes ``(1, y, x)`` in scaled units, for every λ."""
    from rsd_med.data.cfl import open_cfl
    from rsd_med.data.writing.cfl import CflWriter

    images = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with CflWriter(folder / "kspace.cfl") as file:
            file.add(prepared.measurement.data[0])
        _run(folder, "ecalib", "-m2", "-r24", "kspace", "maps")
        for weight in WEIGHTS:
            _run(folder, "pics", "-S", "-l1", f"-r{weight}", "-i100", "kspace", "maps", "image")
            parts = torch.from_numpy(open_cfl(folder / "image.cfl").copy()).squeeze()  # (y, x, set)
            images[weight] = parts.abs().square().sum(-1).sqrt()[None]
    return images


def _run(folder: Path, *arguments: str) -> None:
    subprocess.run(["bart", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
