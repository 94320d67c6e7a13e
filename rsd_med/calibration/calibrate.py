"""From a raw scan to usable numbers, step by step: noise, whitening, coil compression, scale, coil maps."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import DataError
from rsd_med.calibration.coil_maps import chosen_maps
from rsd_med.calibration.noise import SAMPLES_PER_COIL, NoiseEstimate, estimate_noise, noise_covariance
from rsd_med.calibration.quality import MapQuality, map_quality, require_explained
from rsd_med.calibration.scale import central_width, contiguous, scan_scale
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.calibration.virtual_coils import VirtualCoils, virtual_coils
from rsd_med.calibration.whitening import noise_correlation
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.noise import complex_or_real_noise

REFERENCE_ACS_LINES = 24
"""Central columns that scale a scan where nobody says how many ACS lines there are."""


class RawScan(Protocol):
    """What calibration reads of a scan; :class:`rsd_med.data.scan.Scan` is one, and describes the attributes."""

    @property
    def kspace(self) -> Tensor:
        """complex64, (coil, y, x), zero where not sampled."""

    @property
    def acquired(self) -> Tensor:
        """bool, (x,)."""

    @property
    def readout(self) -> Tensor | None:
        """bool, (y,); None when all rows were sampled."""

    @property
    def maps(self) -> Tensor | None:
        """complex64, (coil, y, x)."""

    @property
    def acs_lines(self) -> int | None:
        """Fully sampled central columns, as the file says."""

    @property
    def noise(self) -> Tensor | None:
        """complex64, (coil, n)."""

    @property
    def calibration(self) -> Tensor | None:
        """complex64, (coil, y, x), zero where not measured."""


@dataclass(frozen=True)
class CalibratedScan:
    """A scan in scaled units, with all that training and reconstruction need to know of it.

    Attributes
    ----------
    kspace
        complex64, (coil, y, x): whitened, compressed, divided by ``scale``; zero where not sampled.
    mask
        bool, (1, 1, x), or (1, y, x) where not all rows of a column were sampled.
    maps
        complex64, (coil, y, x), Σ|S|² = 1 inside the support, 0 outside.
    sigma
        Standard deviation of the noise per real component, in scaled units, of ``kspace`` as of S^H F^H ``kspace``: of
        the measured noise (0 where it is not known, ``report["noise"]["source"]`` is None then) and of what was added.
    scale
        The file's units are ``scale`` times the units here.
    coils
        From the receive coils to those of ``kspace``.
    acquired
        bool, (x,): the columns that exist, where some at the edges do not; else None.
    report
        The figures of every step; plain numbers, words, lists and dicts.
    """

    kspace: Tensor
    mask: Tensor
    maps: Tensor
    sigma: float
    scale: float
    coils: VirtualCoils = field(default_factory=VirtualCoils)
    acquired: Tensor | None = None
    report: dict[str, Any] = field(default_factory=dict)

    def measurement(self, item_id: str) -> Measurement:
        """Return the scan as a measurement, a batch of one."""
        return Measurement(
            data=self.kspace[None],
            operator=MultiCoilFourier(self.mask[None], self.maps[None]),
            sigma=torch.full((1,), self.sigma),
            scale=torch.full((1,), self.scale),
            ids=(item_id,),
            acquired=None if self.acquired is None else self.acquired[None],
        )


def calibrate(
    scan: RawScan,
    settings: CalibrationSettings | None = None,
    mask: Tensor | None = None,
    acs_lines: int | None = None,
    *,
    added_sigma: float = 0.0,
    generator: Draws | None = None,
) -> CalibratedScan:
    """Turn a raw scan into scaled k-space with known noise and coil maps, looking at nothing but what was measured.

    The only way from a scan to a measurement: training, evaluation, reconstruction and the app all call it.

    Parameters
    ----------
    scan
        One slice.
    settings
        The steps; None takes the defaults.
    mask
        Retrospective undersampling, bool, (x,) or (y, x), or either with leading axes of size 1. Everything, the noise
        and the scale too, then comes from what it leaves.
    acs_lines
        Central columns that the scale is taken from: a prior trained with as many expects them. None, or 0, takes the
        file's word, or at most 24.
    added_sigma
        Noise per real component, in scaled units, to add to the sampled entries: the simulation of a noisier scan. Its
        coil maps come from the noisy data. Independent noise adds up as variance, so the result's σ is the root of the
        sum of both squares.
    generator
        Source of the added noise.

    Returns
    -------
    CalibratedScan
        In scaled units.

    Raises
    ------
    DataError
        If the scan gives no scale or coil maps, if the maps of the file do not explain it, or if a step that was asked
        for by name cannot be taken.
    """
    settings = settings if settings is not None else CalibrationSettings()
    sampled = _sampled(scan, mask)
    raw = torch.where(sampled, scan.kspace, 0)
    noise = _noise(scan, raw, sampled, settings.noise)
    coils, steps = virtual_coils(raw, noise, settings)
    report = {"sampling": _sampling_report(sampled, raw.shape[-2:]), "noise": _noise_report(noise)} | steps

    kspace = torch.where(sampled, coils(raw), 0)
    extra = None if scan.calibration is None else coils(scan.calibration)
    reference, seen = _reference(kspace, sampled, extra)
    scale, lines = scan_scale(reference, seen, acs_lines or scan.acs_lines or REFERENCE_ACS_LINES)
    measured_sigma = 0.0 if noise is None else noise.sigma / scale
    report["scale"] = {"value": scale, "acs_lines": lines, "sigma": measured_sigma}

    separate, kspace = reference is not kspace, kspace / scale
    reference = reference / scale if separate else kspace
    if added_sigma:
        assert generator is not None
        kspace = _noisier(kspace, sampled, added_sigma, generator)
        reference = _noisier(reference, seen, added_sigma, generator) if separate else kspace
    sigma = math.hypot(measured_sigma, added_sigma)
    maps, kind = chosen_maps(reference, seen, settings.maps, None if scan.maps is None else coils.maps(scan.maps))
    report["maps"] = {"kind": kind}
    if central_width(seen, raw.shape[-2]) > 0:
        quality = _quality(maps, reference, seen, sigma, doubted=noise is None and kind == "file")
        report["maps"] |= quality.as_dict()
        if settings.check_maps and kind == "file":
            require_explained(quality)
    return CalibratedScan(
        kspace=kspace,
        mask=sampled[None, None, :] if sampled.ndim == 1 else sampled[None],
        maps=maps,
        sigma=sigma,
        scale=scale,
        coils=coils,
        acquired=scan.acquired if contiguous(scan.acquired) and not bool(scan.acquired.all()) else None,
        report=report,
    )


def _noisier(kspace: Tensor, sampled: Tensor, sigma: float, generator: Draws) -> Tensor:
    """Add noise to the sampled entries; the others stay exactly zero."""
    return kspace + complex_or_real_noise(kspace, sigma, generator).masked_fill_(~sampled, 0)


def _quality(maps: Tensor, kspace: Tensor, sampled: Tensor, sigma: float, *, doubted: bool) -> MapQuality:
    """Judge maps; where the scan's own noise is not known and they seem wrong, a second time with a measured one."""
    quality = map_quality(maps, kspace, sampled, sigma or None)
    if quality.explains or not doubted:
        return quality
    noise = estimate_noise(kspace, sampled)
    return quality if noise is None else map_quality(maps, kspace, sampled, max(sigma, noise.sigma))


def _sampled(scan: RawScan, mask: Tensor | None) -> Tensor:
    """Return what was measured, and is left by the mask: bool, (x,), or (y, x) where rows differ."""
    rows, columns = scan.kspace.shape[-2:]
    sampled = scan.acquired
    if scan.readout is not None and not bool(scan.readout.all()):
        sampled = scan.readout[:, None] & sampled
    if mask is None:
        return sampled
    plane = mask
    while plane.ndim > 1 and plane.shape[0] == 1:
        plane = plane[0]
    if plane.dtype != torch.bool or plane.shape not in ((columns,), (rows, columns)):
        raise DataError(
            f"A mask of shape {tuple(mask.shape)} and type {mask.dtype} does not fit k-space of {rows} × {columns}; "
            f"give a boolean one of shape ({columns},) or ({rows}, {columns})."
        )
    return sampled & plane


def _noise(scan: RawScan, kspace: Tensor, sampled: Tensor, source: str) -> NoiseEstimate | None:
    if source == "none":
        return None
    enough = scan.noise is not None and scan.noise.shape[1] >= SAMPLES_PER_COIL * kspace.shape[0]
    if scan.noise is not None and (source == "scan" or (source == "auto" and enough)):
        covariance = noise_covariance(scan.noise)
        if covariance.shape[0] != kspace.shape[0]:
            raise DataError(
                f"The noise scan has {covariance.shape[0]} coils and k-space {kspace.shape[0]}; measure the noise with "
                "the same coils, or set calibration.noise: edges."
            )
        return NoiseEstimate(covariance=covariance, source="scan", samples=scan.noise.shape[1], excess=0.0)
    if source == "scan":
        raise DataError("The file holds no noise scan; set calibration.noise: auto.")
    where: Literal["auto", "edges", "background"]
    where = "edges" if source == "edges" else "background" if source == "background" else "auto"
    estimate = estimate_noise(kspace, sampled, where)
    if estimate is None and source != "auto":
        raise DataError(
            f"The scan has too few samples in the {source} to measure its noise; set calibration.noise: auto."
        )
    return estimate if estimate is None or estimate.sigma > 0 else None


def _reference(kspace: Tensor, sampled: Tensor, extra: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the k-space whose centre is the better known one: the scan's own, or that of its calibration lines."""
    if extra is None:
        return kspace, sampled
    entries = (extra != 0).any(0)
    columns = entries.any(0)
    lines = columns if bool(entries[:, columns].all()) else entries
    rows = kspace.shape[-2]
    return (kspace, sampled) if central_width(sampled, rows) >= central_width(lines, rows) else (extra, lines)


def _noise_report(noise: NoiseEstimate | None) -> dict[str, Any]:
    if noise is None:
        return {"source": None}
    return {
        "source": noise.source,
        "sigma": noise.sigma,
        "samples": noise.samples,
        "excess": noise.excess,
        "coils": [float(value) for value in (noise.covariance.diagonal().real / 2).sqrt()],
        "correlation": noise_correlation(noise.covariance),
    }


def _sampling_report(sampled: Tensor, shape: torch.Size) -> dict[str, Any]:
    total = shape[-1] if sampled.ndim == 1 else shape.numel()
    measured = int(sampled.sum())
    if measured == 0:
        raise DataError("Nothing of the scan is left by its mask; give another mask.")
    return {
        "shape": list(shape),
        "pattern": "columns" if sampled.ndim == 1 else "entries",
        "sampled": measured,
        "acceleration": total / measured,
        "acs": central_width(sampled, shape[0]),
    }
