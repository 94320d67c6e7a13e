"""The one place where the app meets calibration and inverse problems; runs in the worker."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError, FewLinesError, UndersampledError
from rsd_med.base.progress import Progress
from rsd_med.base.randomness import generator_for
from rsd_med.data.scan import Geometry, Picture, Scan
from rsd_med.data.simulation import Scanner, magnitude
from rsd_med.inverse import scans
from rsd_med.inverse.base import Reconstruction, Solver
from rsd_med.inverse.checking import check_slice
from rsd_med.inverse.choice import BASELINE, baseline_candidates
from rsd_med.inverse.hidden_lines import Candidate
from rsd_med.inverse.kinds import SOLVERS

from .model import Model
from .parsing import load_item

SIMULATED_COILS = 4
CHECK_DRAWS = 2
"""How often lines are hidden from a learned method, at least."""

READY = 4
"""Scans that stay ready; of a 15-coil slice of 320 x 320 each takes some 40 MiB."""


@dataclass(frozen=True)
class ReadyScan:
    """A scan ready to be reconstructed.

    Attributes
    ----------
    prepared
        Measurement, calibration and reference.
    simulated
        Whether it is the simulated scan of a picture.
    """

    prepared: scans.Prepared
    simulated: bool

    @property
    def reference(self) -> Tensor | None:
        """Magnitude of the fully sampled image, ``(1, y, x)``, scaled units; None where it is not known."""
        reference = self.prepared.reference
        return None if reference is None else (reference / self.prepared.scan.scale)[None]


class ReadyScans:
    """The scans looked at last, ready: a second method, or a reconstruction after reading, prepares nothing again.

    Parameters
    ----------
    model
        Whose scans these are: calibrated as the run's own were.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._ready: OrderedDict[tuple[str | int, float | None], ReadyScan] = OrderedDict()

    def get(self, scan: str | int, acceleration: float | None) -> ReadyScan:
        """Return a scan, prepared now or before.

        Parameters
        ----------
        scan
            A file that the child process wrote, which never changes; or the number of an example.
        acceleration
            To undersample it by; None takes it as it was measured.

        Raises
        ------
        DataError
            When the scan is gone, undersampled already, or cannot be calibrated.
        """
        key = scan, acceleration
        if key not in self._ready:
            item, simulated = (example(self.model, scan), True) if isinstance(scan, int) else load_scan(Path(scan))
            self._ready[key] = prepare(self.model, item, acceleration, simulated)
        self._ready.move_to_end(key)
        while len(self._ready) > READY:
            self._ready.popitem(last=False)
        return self._ready[key]

    def forget(self, folder: Path) -> None:
        """Drop the scans of a session that has ended."""
        for key in [key for key in self._ready if isinstance(key[0], str) and Path(key[0]).is_relative_to(folder)]:
            del self._ready[key]


def load_scan(path: Path) -> tuple[Scan, bool]:
    """Return the scan that the child process wrote, or a simulated scan of the picture; and whether it is simulated."""
    arrays = load_item(path)
    spacing = tuple(arrays["spacing_mm"].tolist()) if "spacing_mm" in arrays else None
    geometry = Geometry(arrays.get("affine"), spacing)
    if "image" in arrays:
        picture = Picture("picture", torch.from_numpy(arrays["image"]), geometry)
        return simulate(picture), True
    tensors: dict[str, Any] = {
        name: torch.from_numpy(arrays[name])
        for name in ("maps", "noise", "calibration", "readout", "trajectory", "sampled")
        if name in arrays
    }
    rows, columns = arrays["matrix"].tolist()
    part = arrays["reconstructed"].tolist() if "reconstructed" in arrays else None
    return (
        Scan(
            "scan",
            torch.from_numpy(arrays["kspace"]),
            torch.from_numpy(arrays["acquired"]),
            geometry=geometry,
            image_size=(rows, columns),
            reconstructed=None if part is None else (part[0], part[1]),
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


def prepare(model: Model, scan: Scan, acceleration: float | None, simulated: bool) -> ReadyScan:
    """Calibrate a scan, undersampling it first where an acceleration is asked for.

    Raises
    ------
    DataError
        When the scan is undersampled already, or cannot be calibrated.
    """
    protocol = model.experiment.protocol
    trained = scan.matrix == model.experiment.sampling_operators.size
    lines = protocol.acs_lines if trained else scan.acs_lines
    # Maps that do not explain the data are shown as such, not refused: the reader is to see what was read.
    settings = protocol.calibration.model_copy(update={"check_maps": False})
    try:
        prepared = scans.prepare(scan, scans.Undersampling(acceleration, lines), settings, acs_lines=lines)
    except UndersampledError as error:
        raise DataError("The scan is undersampled already: choose As measured.") from error
    except DataError as error:
        raise DataError(error.message) from error  # there is one scan here, and it needs no name
    return ReadyScan(prepared, simulated)


def describe(scan: ReadyScan) -> dict[str, Any]:
    """Return what was found in a scan, as plain values."""
    calibrated = scan.prepared.scan
    report = calibrated.report
    return {
        "coils": int(calibrated.kspace.shape[0]),
        "shape": list(calibrated.maps.shape[-2:]),
        "sampling": report["sampling"],
        "sigma": calibrated.sigma,
        "noise_source": report["noise"]["source"],
        "whitened": report["whitening"]["applied"],
        "maps": report["maps"],
        "scale": calibrated.scale,
        "simulated": scan.simulated,
        "reference": scan.reference is not None,
    }


def build_solver(model: Model, method: str, samples: int) -> Solver:
    """Return a solver by name; DataError for a name that is none."""
    settings = SOLVERS.get(method)
    if settings is None:
        raise DataError(f"There is no method of that name; choose one of {', '.join(SOLVERS.titles.values())}.")
    prior = None if settings.needs is None else model.trained(settings.needs)
    return settings.model_validate({"samples": samples} if settings.gives_samples() else {}).build(prior)


def reconstruct(
    model: Model, scan: ReadyScan, method: str, samples: int, progress: Progress
) -> tuple[Reconstruction, Tensor]:
    """Reconstruct where the networks lie; return that and the zero-filled ``(set, y, x)`` complex64, on the CPU."""
    device = model.experiment.device
    measurement = scan.prepared.measurement.to(device)
    solver = build_solver(model, method, samples)
    result = solver(measurement, generator_for(0, "inspector", method, device=device), progress)
    return result.to("cpu"), measurement.image()[0].cpu()


def hidden_lines(model: Model, scan: ReadyScan, method: str, samples: int, progress: Progress) -> tuple[str, bool]:
    """Say how a learned method predicts measured lines that are hidden from it, beside L1-wavelet.

    Returns
    -------
    tuple of str and bool
        One sentence, and whether it is a warning; the sentence is empty for a method without a prior.
    """
    if SOLVERS[method].needs is None:
        return "", False
    candidate = Candidate(method, build_solver(model, method, samples))
    candidates = [*baseline_candidates(), candidate]
    measurement = scan.prepared.measurement.to(model.experiment.device)
    try:
        table = check_slice(measurement, candidates, CHECK_DRAWS, 0, progress)
    except FewLinesError as error:
        return f"Not checked on hidden lines: {error.message}", False
    row, baseline = table.row_of(candidate), table.best_of(BASELINE)
    warning = table.warning(row)
    if warning is not None:
        return f"{warning[0].upper()}{warning[1:]}", True
    return (
        f"{len(row.errors.squared)} measured lines were hidden from it in turn: it predicts them with a squared error "
        f"of {row.errors.relative:.2f} of their energy, L1-wavelet with {baseline.errors.relative:.2f}.",
        False,
    )


def quality(scan: ReadyScan, image: Tensor) -> dict[str, float]:
    """Return NMSE, PSNR and SSIM of ``(set, y, x)`` over the reconstructed matrix; empty without a reference."""
    if scan.reference is None:
        return {}
    from rsd_med.metrics.image_quality import nmse, psnr, reconstructed_part, ssim

    part = scan.prepared.reconstructed
    reference, result = reconstructed_part(scan.reference, part), reconstructed_part(scan.prepared.shown(image), part)
    return {
        "NMSE": float(nmse(reference, result)),
        "PSNR": float(psnr(reference, result)),
        "SSIM": float(ssim(reference, result)),
    }


def arrays(scan: ReadyScan, result: Reconstruction, zero_filled: Tensor) -> dict[str, np.ndarray]:
    """Return magnitudes for the panes, float32 (y, x), scaled units."""
    shown = scan.prepared.shown
    images = {"result": shown(result.mean)[0], "zero_filled": shown(zero_filled)[0]}
    if scan.reference is not None:
        images["reference"] = scan.reference[0]
    if result.std is not None:
        images["uncertainty"] = shown(result.std)[0]
    return {name: image.to(torch.float32).numpy() for name, image in images.items()}
