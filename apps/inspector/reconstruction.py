"""The one place where the app meets calibration and inverse problems; runs in the worker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from apps.inspector.model import Model
from apps.inspector.parsing import load_item
from apps.inspector.worker import Progress
from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.calibrate import CalibratedScan, CalibrationSettings, calibrate
from rsd_med.corruptions.multicoil_fourier import MultiCoilUndersampling
from rsd_med.data.scan import Geometry, Picture, Scan
from rsd_med.data.simulation import Scanner, magnitude
from rsd_med.inverse.base import Reconstruction, Solver
from rsd_med.inverse.prior import Prior
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.teachers.ambient_fourier import mask_context

METHODS = {
    "zero_filled": "Zero-filled",
    "cg_sense": "CG-SENSE",
    "l1_wavelet": "L1 wavelet",
    "student_pnp": "Student, plug and play",
    "student_latent": "Student, latent search",
    "a_dps": "Teacher, A-DPS",
}
LEARNED = ("student_pnp", "student_latent", "a_dps")
SIMULATED_COILS = 4
EXAMPLES = 8


@dataclass(frozen=True)
class Prepared:
    """A scan ready to be reconstructed, in scaled units, with its clean image where one is known."""

    calibrated: CalibratedScan
    reference: torch.Tensor | None
    geometry: Geometry
    simulated: bool
    undersampled_here: bool


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
    columns = scan.kspace.shape[-1]
    full = bool(scan.acquired.all()) and (scan.readout is None or bool(scan.readout.all()))
    corruption = model.experiment.corruption
    trained = isinstance(corruption, MultiCoilUndersampling) and columns == model.experiment.conditions.data.shape[-1]
    lines = scan.acs_lines
    if trained and lines is None:
        lines = getattr(corruption, "acs_lines", None)
    # Maps that do not explain the data are shown as such, not refused: the reader is to see what was read.
    if acceleration is None:
        found = calibrate(scan, CalibrationSettings(check_maps=False), None, lines)
        return Prepared(found, None, scan.geometry, simulated, False)
    if not full:
        raise DataError("This scan is undersampled already; reconstruct it as it was measured.")
    acs = lines or max(8, round(0.32 * columns / acceleration))
    drawn = MultiCoilUndersampling(acceleration, acs)
    mask = drawn.draw_mask(columns, generator_for(0, "inspector", "mask", acceleration))
    # Whitening would mix the coils by the noise of what is left; the reference must be in the same mixture.
    plain = CalibrationSettings(whiten=False, check_maps=False)
    calibrated = calibrate(scan, plain, mask, acs)
    whole = MultiCoilFourier(torch.ones_like(calibrated.mask)[None], calibrated.maps[None])
    reference = whole.H(scan.kspace[None] / calibrated.scale)[0]
    return Prepared(calibrated, reference, scan.geometry, simulated, True)


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


def prior(model: Model, stage: str) -> Prior:
    """Return the run's teacher or student as a solver sees it."""
    network = model.network(stage)
    corruption = model.experiment.corruption
    if not isinstance(corruption, MultiCoilUndersampling):
        raise ProtocolError("This run was not trained on k-space, so it cannot reconstruct scans.")
    from rsd_med.diffusion.view import View

    def show(operator: LinearOperator) -> View:
        assert isinstance(operator, MultiCoilFourier)
        if not model.experiment.objective.context_channels:
            return View()
        return View(lambda x: to_channels(operator.normal(to_complex(x))), mask_context(operator))

    conditions = model.experiment.conditions
    stored = conditions.operator.mask if isinstance(conditions.operator, MultiCoilFourier) else None
    height, width = conditions.data.shape[-2:]
    return Prior(
        network,
        show,
        corruption,
        stored if corruption.mask == "file" else None,
        (int(height), int(width)),
        model.experiment.protocol.student.sigma_init if stage == "student" else None,
    )


def build_solver(model: Model, method: str, samples: int) -> Solver:
    """Return a solver by name."""
    from rsd_med.inverse.a_dps import ADPSSettings
    from rsd_med.inverse.cg_sense import CGSenseSettings
    from rsd_med.inverse.l1_wavelet import L1WaveletSettings
    from rsd_med.inverse.student_latent import StudentLatentSettings
    from rsd_med.inverse.student_pnp import StudentPnPSettings
    from rsd_med.inverse.zero_filled import ZeroFilledSettings

    if method == "zero_filled":
        return ZeroFilledSettings().build()
    if method == "cg_sense":
        return CGSenseSettings().build()
    if method == "l1_wavelet":
        return L1WaveletSettings().build()
    if method == "student_pnp":
        return StudentPnPSettings(samples=samples).build(prior(model, "student"))
    if method == "student_latent":
        return StudentLatentSettings(samples=samples).build(prior(model, "student"))
    if method == "a_dps":
        return ADPSSettings(samples=samples).build(prior(model, "teacher"))
    raise DataError(f"There is no method of that name; choose one of {', '.join(METHODS.values())}.")


def reconstruct(
    model: Model, prepared: Prepared, method: str, samples: int, progress: Progress
) -> tuple[Reconstruction, torch.Tensor]:
    """Reconstruct; return that and the zero-filled image, ``(1, y, x)`` complex64."""
    measurement = prepared.calibrated.measurement("this scan")
    solver = build_solver(model, method, samples)
    if method in LEARNED:
        prior(model, "teacher" if method == "a_dps" else "student").check(measurement)
    found = solver(measurement, generator_for(0, "inspector", method), progress)
    return found, measurement.image()[0]


def quality(prepared: Prepared, image: torch.Tensor) -> dict[str, float]:
    """Return NMSE, PSNR and SSIM of a magnitude image against the reference; empty without one."""
    if prepared.reference is None:
        return {}
    from rsd_med.metrics.image_quality import nmse, psnr, ssim

    reference, found = prepared.reference.abs(), image.abs()
    return {
        "NMSE": float(nmse(reference, found)),
        "PSNR": float(psnr(reference, found)),
        "SSIM": float(ssim(reference, found)),
    }


def arrays(prepared: Prepared, found: Reconstruction, zero_filled: torch.Tensor) -> dict[str, np.ndarray]:
    """Return magnitudes for the panes, float32 (y, x), scaled units."""
    images = {"result": found.mean.abs()[0], "zero_filled": zero_filled.abs()[0]}
    if prepared.reference is not None:
        images["reference"] = prepared.reference.abs()[0]
    if found.std is not None:
        images["uncertainty"] = found.std[0]
    return {name: image.to(torch.float32).numpy() for name, image in images.items()}
