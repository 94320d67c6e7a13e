"""From a raw scan to usable numbers, step by step: noise, whitening, coil compression, scale, coil maps."""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import DataError
from rsd_med.calibration.calibrated import CalibratedScan, RawScan, noise_report, noise_scan
from rsd_med.calibration.coil_maps import chosen_maps
from rsd_med.calibration.noise import NoiseEstimate, estimate_noise
from rsd_med.calibration.noncartesian import calibrate_samples
from rsd_med.calibration.quality import MapQuality, map_quality, require_explained
from rsd_med.calibration.scale import central_width, contiguous, scan_scale
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.calibration.virtual_coils import virtual_coils
from rsd_med.operators.noise import complex_or_real_noise
from rsd_med.operators.soft_sense import multicoil_fourier

REFERENCE_ACS_LINES = 24
"""Central columns that scale a scan where nobody says how many ACS lines there are."""


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
    lines = acs_lines or scan.acs_lines or REFERENCE_ACS_LINES
    if scan.trajectory is not None:
        if mask is not None or added_sigma:
            raise DataError("A scan along a trajectory is taken as it was measured: without a mask or added noise.")
        return calibrate_samples(scan, settings, lines)
    sampled = _sampled(scan, mask)
    raw = torch.where(sampled, scan.kspace, 0)
    noise = _noise(scan, raw, sampled, settings.noise)
    coils, steps = virtual_coils(raw, noise, settings)
    report = {"sampling": _sampling_report(sampled, raw.shape[-2:]), "noise": noise_report(noise)} | steps

    kspace = torch.where(sampled, coils(raw), 0)
    extra = None if scan.calibration is None else coils(scan.calibration)
    reference, reference_mask = _reference(kspace, sampled, extra)
    scale, lines = scan_scale(reference, reference_mask, lines)
    measured_sigma = 0.0 if noise is None else noise.sigma / scale
    report["scale"] = {"value": scale, "acs_lines": lines, "sigma": measured_sigma}

    separate, kspace = reference is not kspace, kspace / scale
    reference = reference / scale if separate else kspace
    if added_sigma:
        assert generator is not None
        kspace = _noisier(kspace, sampled, added_sigma, generator)
        reference = _noisier(reference, reference_mask, added_sigma, generator) if separate else kspace
    sigma = math.hypot(measured_sigma, added_sigma)
    stored = None if scan.maps is None else coils.maps(scan.maps)
    chosen = chosen_maps(reference, reference_mask, settings.maps, stored, sigma)
    report["maps"] = chosen.as_dict()
    if central_width(reference_mask, raw.shape[-2]) > 0:
        from_file = chosen.kind == "file"
        quality = _quality(chosen.maps, reference, reference_mask, sigma, doubted=noise is None and from_file)
        report["maps"] |= quality.as_dict()
        if settings.check_maps and from_file:
            require_explained(quality)
    maps = chosen.maps if len(chosen.maps) > 1 else chosen.maps[0]
    return CalibratedScan(
        kspace=kspace,
        operator=multicoil_fourier((sampled[None] if sampled.ndim == 1 else sampled)[None, None], maps[None]),
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
    if scan.sampled is not None:
        sampled = scan.sampled & sampled
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
    measured = noise_scan(scan, source)
    if measured is not None or source == "none":
        return measured
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
