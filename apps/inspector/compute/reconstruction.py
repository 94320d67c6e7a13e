"""The one place where the app meets calibration and inverse problems; runs in the worker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rsd_med.base.errors import DataError
from rsd_med.base.progress import Progress
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.calibrate import CalibratedScan
from rsd_med.data.scan import Geometry, Picture, Scan
from rsd_med.data.simulation import Scanner, magnitude
from rsd_med.inverse import scans
from rsd_med.inverse.base import Reconstruction, Solver
from rsd_med.inverse.kinds import SOLVERS
from rsd_med.prior import load_prior

from .model import Model
from .parsing import load_item

SIMULATED_COILS = 4


@dataclass(frozen=True)
class Prepared:
    """A scan ready to be reconstructed, in scaled units; ``reference`` is a magnitude (1, y, x), where one is known."""

    calibrated: CalibratedScan
    reference: torch.Tensor | None
    geometry: Geometry
    simulated: bool


def load_scan(path: Path) -> tuple[Scan, bool]:
    """Return the scan that the child process wrote, or a simulated scan of the picture; and whether it is simulated."""
    arrays = load_item(path)
    spacing = tuple(arrays["spacing_mm"].tolist()) if "spacing_mm" in arrays else None
    geometry = Geometry(arrays.get("affine"), spacing)
    if "image" in arrays:
        picture = Picture("picture", torch.from_numpy(arrays["image"]), geometry)
        return simulate(picture), True
    tensors: dict[str, Any] = {
        name: torch.from_numpy(arrays[name]) for name in ("maps", "noise", "calibration", "readout") if name in arrays
    }
    return (
        Scan(
            "scan",
            torch.from_numpy(arrays["kspace"]),
            torch.from_numpy(arrays["acquired"]),
            geometry=geometry,
            **tensors,
        ),
        False,
    )


def simulate(picture: Picture) -> Scan:
    """Scan a picture with a simulated scanner of a few coils and little noise."""
    image = magnitude(picture)
    kspace, maps = Scanner(coils=SIMULATED_COILS, sigma=0.01, acceleration=None).scan(image, "picture")
    acquired = torch.ones(image.shape[-1], dtype=torch.bool)
    return Scan("picture", kspace, acquired, maps, geometry=picture.geometry)


def example(model: Model, number: int) -> Scan:
    """Return a held-out scan of the run's own reference data.

    Raises
    ------
    DataError
        When the run has none, or its data are not here.
    """
    settings = model.experiment.protocol.evaluation.reference
    if settings is None:
        raise DataError("This run names no held-out scans; send a file instead.")
    source = settings.build(model.experiment.base_dir, model.experiment.protocol.seed)
    item = source[number % len(source)]
    if isinstance(item, Picture):
        return simulate(item)
    return item


def prepare(model: Model, scan: Scan, acceleration: float | None, simulated: bool) -> Prepared:
    """Calibrate a scan, undersampling it first where an acceleration is asked for.

    Raises
    ------
    DataError
        When the scan is undersampled already, or cannot be calibrated.
    """
    corruption = model.experiment.corruption
    trained = scan.kspace.shape[-2:] == model.experiment.sampling_operators.data.shape[-2:]
    lines = getattr(corruption, "acs_lines", None) if trained else scan.acs_lines
    try:
        # Maps that do not explain the data are shown as such, not refused: the reader is to see what was read.
        found = scans.prepare(
            scan,
            scans.Undersampling(acceleration, lines),
            model.experiment.protocol.calibration.model_copy(update={"check_maps": False}),
            acs_lines=lines,
        )
    except DataError as error:
        # Said of a file in a folder, on a command line; here there is one scan, and a switch.
        sentence = str(error).removeprefix(f"{scan.id}: ").removeprefix(f"{scan.id}: ")
        raise DataError(sentence.replace("leave --acceleration out", "choose As measured")) from error
    reference = None if found.reference is None else (found.reference / found.scan.scale)[None]
    return Prepared(found.scan, reference, scan.geometry, simulated)


def describe(prepared: Prepared) -> dict[str, Any]:
    """Return what was found in a scan, as plain values."""
    report = prepared.calibrated.report
    return {
        "coils": int(prepared.calibrated.kspace.shape[0]),
        "shape": list(prepared.calibrated.kspace.shape[-2:]),
        "sampling": report["sampling"],
        "sigma": prepared.calibrated.sigma,
        "noise_source": report["noise"]["source"],
        "whitened": report["whitening"]["applied"],
        "maps": report["maps"],
        "scale": prepared.calibrated.scale,
        "simulated": prepared.simulated,
        "reference": prepared.reference is not None,
    }


def build_solver(model: Model, method: str, samples: int) -> Solver:
    """Return a solver by name; DataError for a name that is none."""
    settings = SOLVERS.get(method)
    if settings is None:
        raise DataError(f"There is no method of that name; choose one of {', '.join(SOLVERS.titles.values())}.")
    prior = None if settings.needs is None else load_prior(model.run.path, settings.needs)
    return settings.model_validate({"samples": samples} if settings.gives_samples() else {}).build(prior)


def reconstruct(
    model: Model, prepared: Prepared, method: str, samples: int, progress: Progress
) -> tuple[Reconstruction, torch.Tensor]:
    """Reconstruct where the networks lie; return that and the zero-filled ``(1, y, x)`` complex64, on the CPU."""
    device = model.experiment.device
    measurement = prepared.calibrated.measurement("this scan").to(device)
    solver = build_solver(model, method, samples)
    found = solver(measurement, generator_for(0, "inspector", method, device=device), progress)
    return found.to("cpu"), measurement.image()[0].cpu()


def quality(prepared: Prepared, image: torch.Tensor) -> dict[str, float]:
    """Return NMSE, PSNR and SSIM of a magnitude image against the reference; empty without one."""
    if prepared.reference is None:
        return {}
    from rsd_med.metrics.image_quality import nmse, psnr, ssim

    reference, found = prepared.reference, image.abs()
    return {
        "NMSE": float(nmse(reference, found)),
        "PSNR": float(psnr(reference, found)),
        "SSIM": float(ssim(reference, found)),
    }


def arrays(prepared: Prepared, found: Reconstruction, zero_filled: torch.Tensor) -> dict[str, np.ndarray]:
    """Return magnitudes for the panes, float32 (y, x), scaled units."""
    images = {"result": found.mean.abs()[0], "zero_filled": zero_filled.abs()[0]}
    if prepared.reference is not None:
        images["reference"] = prepared.reference[0]
    if found.std is not None:
        images["uncertainty"] = found.std[0]
    return {name: image.to(torch.float32).numpy() for name, image in images.items()}
