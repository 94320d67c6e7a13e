"""The one place where the app meets calibration and inverse problems; runs in the worker."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError, FewLinesError, UndersampledError
from rsd_med.base.progress import Progress
from rsd_med.base.randomness import generator_for
from rsd_med.data.scan import Geometry, Picture, Scan
from rsd_med.data.simulation import magnitude
from rsd_med.inverse import scans
from rsd_med.inverse.base import Reconstruction, Solver
from rsd_med.inverse.kinds import SOLVERS

from .domain import Domain
from .methods import ADAPTATION_STEPS, ADAPTED, CHECK_DRAWS, TITLES, kind_of
from .model import Model
from .parsing import load_item
from .simulated import SIMULATED_COILS, simulate

READY = 4
"""Scans that stay ready; of a 15-coil slice of 320 x 320 each takes some 40 MiB."""


@dataclass(frozen=True)
class AskedScan:
    """A scan as it was sent, or simulated from a picture, or held out.

    Attributes
    ----------
    scan
        With all its lines, or those that were measured.
    simulated
        Whether it is no real scan.
    limits
        The values of its file that 0 and 1 of a picture stand for; (0, 1) of scans, whose numbers are the file's.
    truth
        The picture that was scanned, magnitude, float32 ``(y, x)``; None of real scans, of which nobody knows it.
    """

    scan: Scan
    simulated: bool
    limits: tuple[float, float] = (0.0, 1.0)
    truth: Tensor | None = None


@dataclass(frozen=True)
class ReadyScan:
    """A scan ready to be reconstructed.

    Attributes
    ----------
    prepared
        Measurement, calibration and reference: the picture that was scanned, where it is known, or the complete scan.
    simulated, limits
        As in `AskedScan`.
    exact
        Whether the reference is the picture that was scanned.
    """

    prepared: scans.Prepared
    simulated: bool
    limits: tuple[float, float] = (0.0, 1.0)
    exact: bool = False

    @property
    def reference(self) -> Tensor | None:
        """Magnitude of the fully sampled image, ``(1, y, x)``, scaled units; None where it is not known."""
        reference = self.prepared.reference
        return None if reference is None else (reference / self.prepared.scan.scale)[None]

    def in_file(self, image: np.ndarray, *, spread: bool = False) -> np.ndarray:
        """Return magnitudes in scaled units, or the spread of some, in the values of the file, float32."""
        low, high = self.limits
        values = image * np.float32(self.prepared.scan.scale * (high - low))
        return np.asarray(values if spread else values + np.float32(low), np.float32)


class ReadyScans:
    """The scans looked at last, ready: a second method, or a reconstruction after reading, prepares nothing again.

    Parameters
    ----------
    model
        Whose scans these are: calibrated as the run's own were.

    Attributes
    ----------
    answers
        What was found of the examples, by scan, acceleration, method and samples.
    domain
        What the model counts as its own kind.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._ready: OrderedDict[tuple[str | int, float | None], ReadyScan] = OrderedDict()
        self.answers: dict[tuple[str | int, float | None, str, int], dict[str, Any]] = {}
        self.domain = Domain(model)

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
            self._ready[key] = prepare(self.model, scan_of(self.model, scan), acceleration)
        self._ready.move_to_end(key)
        while len(self._ready) > READY:
            self._ready.popitem(last=False)
        return self._ready[key]

    def forget(self, folder: Path) -> None:
        """Drop the scans of a session that has ended."""
        for key in [key for key in self._ready if isinstance(key[0], str) and Path(key[0]).is_relative_to(folder)]:
            del self._ready[key]


def scan_of(model: Model, scan: str | int) -> AskedScan:
    """Return a scan by the name that `ReadyScans` knows it by."""
    return held_out(model, scan) if isinstance(scan, int) else load_scan(Path(scan), model.coils)


def load_scan(path: Path, coils: int = SIMULATED_COILS) -> AskedScan:
    """Return the scan that the child process wrote, or a simulated scan of the picture with so many coils."""
    arrays = load_item(path)
    low, high = arrays.get("limits", np.array([0.0, 1.0])).tolist()
    spacing = tuple(arrays["spacing_mm"].tolist()) if "spacing_mm" in arrays else None
    geometry = Geometry(arrays.get("affine"), spacing)
    if "image" in arrays:
        picture = Picture("picture", torch.from_numpy(arrays["image"]), geometry)
        return scanned(picture, coils, (low, high))
    tensors: dict[str, Any] = {
        name: torch.from_numpy(arrays[name])
        for name in ("maps", "noise", "calibration", "readout", "trajectory", "sampled")
        if name in arrays
    }
    rows, columns = arrays["matrix"].tolist()
    part = arrays["reconstructed"].tolist() if "reconstructed" in arrays else None
    scan = Scan(
        "scan",
        torch.from_numpy(arrays["kspace"]),
        torch.from_numpy(arrays["acquired"]),
        geometry=geometry,
        image_size=(rows, columns),
        reconstructed=None if part is None else (part[0], part[1]),
        **tensors,
    )
    return AskedScan(scan, simulated=False)


def scanned(picture: Picture, coils: int, limits: tuple[float, float] = (0.0, 1.0)) -> AskedScan:
    """Return a simulated scan of a picture, with the picture itself as the truth."""
    return AskedScan(simulate(picture, coils), simulated=True, limits=limits, truth=magnitude(picture).abs())


def held_out(model: Model, number: int) -> AskedScan:
    """Return a held-out scan of the run's own reference data, or a simulated scan where these are pictures.

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
    return scanned(item, model.coils) if isinstance(item, Picture) else AskedScan(item, simulated=True)


def prepare(model: Model, asked: AskedScan, acceleration: float | None) -> ReadyScan:
    """Calibrate a scan, undersampling it first where an acceleration is asked for.

    A complete scan holds noise, of which a good reconstruction has less. So where the picture that was scanned is
    known, results are held against that.

    Raises
    ------
    DataError
        When the scan is undersampled already, or cannot be calibrated.
    """
    protocol, scan = model.experiment.protocol, asked.scan
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
    exact = asked.truth is not None and prepared.reference is not None
    if exact:
        prepared = replace(prepared, reference=asked.truth)
    return ReadyScan(prepared, asked.simulated, asked.limits, exact)


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
        "exact": scan.exact,
    }


def build_solver(model: Model, method: str, samples: int) -> Solver:
    """Return a solver by the name of its method; DataError for a name that is none."""
    kind = SOLVERS.get(kind_of(method))
    if kind is None:
        raise DataError(f"There is no method of that name; choose one of {', '.join(TITLES.values())}.")
    prior = None if kind.needs is None else model.trained(kind.needs)
    settings = kind.model_validate({"samples": samples} if kind.gives_samples() else {})
    if method != ADAPTED:
        return settings.build(prior)
    from rsd_med.training.adaptation import AdaptationSettings, AdaptingSolver

    assert prior is not None
    return AdaptingSolver(settings, prior, AdaptationSettings(steps=ADAPTATION_STEPS, copies=CHECK_DRAWS))


def reconstruct(
    model: Model, scan: ReadyScan, method: str, solver: Solver, progress: Progress
) -> tuple[Reconstruction, Tensor]:
    """Reconstruct where the networks lie; return that and the zero-filled ``(set, y, x)`` complex64, on the CPU."""
    device = model.experiment.device
    measurement = scan.prepared.measurement.to(device)
    generator = generator_for(0, "inspector", kind_of(method), device=device)
    try:
        result = solver(measurement, generator, progress)
    except FewLinesError as error:  # of the methods, adapting alone hides lines
        raise DataError(
            "There is too little outside the centre of k-space to adapt to this scan; take the reconstructor as it is."
        ) from error
    return result.to("cpu"), measurement.image()[0].cpu()


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


def measured(scan: ReadyScan) -> dict[str, np.ndarray]:
    """Return the zero-filled image and, where it is known, the complete one: float32 (y, x), values of the file."""
    images = {"zero_filled": scan.prepared.shown(scan.prepared.measurement.image()[0])[0]}
    if scan.reference is not None:
        images["reference"] = scan.reference[0]
    return {name: scan.in_file(image.to(torch.float32).cpu().numpy()) for name, image in images.items()}


def arrays(scan: ReadyScan, result: Reconstruction, zero_filled: Tensor) -> dict[str, np.ndarray]:
    """Return magnitudes for the panes, float32 (y, x), in the values of the file."""
    shown = scan.prepared.shown
    images = {"result": shown(result.mean)[0], "zero_filled": shown(zero_filled)[0]}
    if scan.reference is not None:
        images["reference"] = scan.reference[0]
    named = {name: scan.in_file(image.to(torch.float32).numpy()) for name, image in images.items()}
    if result.std is not None:
        named["uncertainty"] = scan.in_file(shown(result.std)[0].to(torch.float32).numpy(), spread=True)
    return named
