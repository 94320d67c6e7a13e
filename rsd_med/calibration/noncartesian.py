"""Calibration of a non-Cartesian scan: its noise, its coil maps from what is gridded, and its scale."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.calibration.calibrated import CalibratedScan, RawScan, noise_report, noise_scan
from rsd_med.calibration.coil_maps import ChosenMaps, chosen_maps
from rsd_med.calibration.noise import NoiseEstimate, noise_covariance, outermost_noise
from rsd_med.calibration.quality import map_quality
from rsd_med.calibration.scale import acs_scale, central_width
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.calibration.virtual_coils import virtual_coils
from rsd_med.operators.conjugate_gradient import conjugate_gradient
from rsd_med.operators.fourier import fft2c, ifft2c
from rsd_med.operators.linear import Scaled
from rsd_med.operators.nonuniform import MultiCoilNonUniformFourier

FIT_WEIGHT, FIT_ITERATIONS = 1e-4, 50
"""Of the least-squares fit: its regularisation as a share of the largest eigenvalue, and its steps at most."""

MARGIN = 1.5
"""Sides of the grid that coil maps are estimated on where the object reaches the edge, in sides of the image."""

EDGE, DARK = 1 / 16, 0.1
"""Width of the edge as a share of a side, and its mean power beside the image's where no object reaches it."""

LEAST_LEFT = 0.1
"""A fit that takes up more of the noise than all but this says little of it."""


def calibrate_samples(scan: RawScan, settings: CalibrationSettings, lines: int) -> CalibratedScan:
    """Turn samples along a trajectory into a measurement, looking at nothing but them.

    The coil images are gridded with density compensation, and their k-space takes the place of a Cartesian scan's: its
    centre, as far as the trajectory leaves no cell of the grid empty, gives the coil maps, and its central columns the
    scale. The data themselves are not weighted: their noise stays white.

    The operator and the data are divided by one number, so that a covered cell of k-space counts as much as on the
    grid, once, and the regularisation of a solver means the same. To bring the largest eigenvalue of A^H A to 1 instead
    would let the much repeated centre of a radial scan decide, and regularise the rest too much (docs/operators.md).

    Parameters
    ----------
    scan
        With ``trajectory`` and ``matrix``.
    settings
        The steps; ``noise: edges`` means the outermost samples, ``auto`` the residual of a fit where it says anything.
    lines
        Central columns of the gridded k-space that give the scale.

    Raises
    ------
    DataError
        If a step that was asked for by name cannot be taken, or the scan gives no scale or coil maps.
    """
    assert scan.trajectory is not None
    assert scan.matrix is not None
    if settings.maps.sets == 2:
        raise DataError(
            "A scan along a trajectory takes one map of each coil: off the grid nothing wraps around; set "
            "calibration.maps.sets: auto, and a larger matrix where the object is larger than the field of view."
        )
    if settings.compression == "geometric" and settings.virtual_coils is not None:
        raise DataError("A non-Cartesian scan has no readout to compress along; set calibration.compression: svd.")
    trajectory, size = scan.trajectory, scan.matrix
    noise = _noise(scan, trajectory, settings.noise)
    coils, steps = virtual_coils(scan.kspace, noise, settings)
    kspace = coils(scan.kspace)
    grid = gridded(kspace, trajectory, size)
    covered = covered_cells(trajectory, size)
    lines = min(lines, size[1])
    scale = acs_scale(grid, lines)
    sigma = 0.0 if noise is None else noise.sigma / scale
    given = None if scan.maps is None else coils.maps(scan.maps)
    chosen = _maps(kspace / scale, trajectory, size, settings.with_one_set(), given)
    maps = chosen.maps[0]
    report: dict[str, Any] = {
        "sampling": _sampling_report(trajectory, covered, size),
        "noise": noise_report(noise),
        **steps,
        "scale": {"value": scale, "acs_lines": lines, "sigma": sigma},
        "maps": chosen.as_dict(),
    }
    if central_width(covered, size[0]) > 0:
        report["maps"] |= map_quality(maps, grid / scale, covered, None).as_dict()
    factor = torch.tensor(int(covered.sum()) / len(trajectory)).sqrt()[None]
    return CalibratedScan(
        kspace=kspace / scale * factor,
        operator=Scaled(MultiCoilNonUniformFourier(trajectory, maps[None]), factor),
        sigma=sigma * float(factor),
        scale=scale,
        coils=coils,
        report=report,
    )


def _maps(
    kspace: Tensor, trajectory: Tensor, size: tuple[int, int], settings: CalibrationSettings, given: Tensor | None
) -> ChosenMaps:
    """Return one set of coil maps.

    Estimated maps are periodic: at the edge of their field of view they lead over to the opposite edge. On the grid so
    does the image. Off the grid it does not, and where an object reaches the edge it would be scanned by wrong maps.
    Then they are estimated on a larger field of view and cut to the image. Elsewhere the smaller one is better: of its
    k-space more cells have samples.
    """
    grid = gridded(kspace, trajectory, size)
    if given is not None or not _reaches_edge(grid):
        return chosen_maps(grid, covered_cells(trajectory, size), settings.maps, given)
    wide = (2 * round(MARGIN * size[0] / 2), 2 * round(MARGIN * size[1] / 2))
    finer = trajectory * torch.tensor([wide[0] / size[0], wide[1] / size[1]])
    chosen = chosen_maps(gridded(kspace, finer, wide), covered_cells(finer, wide), settings.maps, None)
    top, left = wide[0] // 2 - size[0] // 2, wide[1] // 2 - size[1] // 2
    part = (..., slice(top, top + size[0]), slice(left, left + size[1]))
    return replace(chosen, maps=chosen.maps[part].contiguous())


def _reaches_edge(grid: Tensor) -> bool:
    power = ifft2c(grid).abs().square().sum(0)
    inner = torch.zeros_like(power, dtype=torch.bool)
    y, x = (max(1, round(EDGE * side)) for side in power.shape)
    inner[y:-y, x:-x] = True
    return bool(power[~inner].mean() > DARK * power.mean())


def gridded(kspace: Tensor, trajectory: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the Cartesian k-space of coil images that are gridded with density compensation.

    Parameters
    ----------
    kspace
        complex64, (coil, 1, samples).
    trajectory
        (samples, 2), cycles per field of view.
    size
        (y, x) of the image.

    Returns
    -------
    Tensor
        complex64, (coil, y, x), centred.
    """
    alone = MultiCoilNonUniformFourier(trajectory, torch.ones(1, *size, dtype=kspace.dtype))
    return fft2c(alone.approximate_image(kspace[:, None]))[:, 0]


def residual_noise(kspace: Tensor, trajectory: Tensor, size: tuple[int, int]) -> NoiseEstimate | None:
    """Estimate the noise from what no image explains, where a trajectory has more samples than the image needs.

    Each coil's image is fitted to its samples by least squares. The residual is noise, less so much of it as the fit
    takes up, which is measured by fitting noise of known strength alike.

    Parameters
    ----------
    kspace
        complex64, (coil, 1, samples).
    trajectory
        (samples, 2), cycles per field of view.
    size
        (y, x) of the image.

    Returns
    -------
    NoiseEstimate or None
        None where the fit leaves less than a tenth of the noise.
    """
    probe = torch.randn(1, *kspace.shape[1:], dtype=kspace.dtype, generator=torch.Generator().manual_seed(0))
    unit = kspace.abs().square().mean().sqrt()
    data = torch.cat((kspace / unit, probe))[:, None]
    scan = MultiCoilNonUniformFourier(trajectory, torch.ones(1, *size, dtype=kspace.dtype))
    weight = FIT_WEIGHT * float(scan.largest_eigenvalue(torch.zeros(1, 1, *size, dtype=kspace.dtype)))
    images = conjugate_gradient(lambda x: scan.normal(x) + weight * x, scan.H(data), FIT_ITERATIONS, tolerance=1e-4)
    residual = (data - scan(images))[:, 0, 0]
    left = float(residual[-1].norm() / probe.norm()) ** 2
    if left < LEAST_LEFT:
        return None
    covariance = noise_covariance(residual[:-1] * unit) / left
    return NoiseEstimate(covariance=covariance, source="residual", samples=round(left * len(trajectory)), excess=0.0)


def covered_cells(trajectory: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which cells of the Cartesian grid have a sample in them, bool, (y, x), centred."""
    centre = torch.tensor([n // 2 for n in size])
    cells = (trajectory.round().long() + centre).clamp(torch.zeros(2, dtype=torch.long), torch.tensor(size) - 1)
    covered = torch.zeros(size, dtype=torch.bool)
    covered[cells[:, 0], cells[:, 1]] = True
    return covered


def _noise(scan: RawScan, trajectory: Tensor, source: str) -> NoiseEstimate | None:
    measured = noise_scan(scan, source)
    if measured is not None or source == "none":
        return measured
    if source == "background":
        raise DataError("A non-Cartesian scan shows no background before it is reconstructed; set noise: edges.")
    estimate = residual_noise(scan.kspace, trajectory, scan.matrix) if source == "auto" else None
    estimate = estimate or outermost_noise(scan.kspace[:, 0], trajectory.norm(dim=-1))
    if estimate is None and source != "auto":
        raise DataError("The scan has too few samples to measure its noise; set calibration.noise: auto.")
    return estimate if estimate is None or estimate.sigma > 0 else None


def _sampling_report(trajectory: Tensor, covered: Tensor, size: tuple[int, int]) -> dict[str, Any]:
    samples, pixels = len(trajectory), size[0] * size[1]
    return {
        "shape": list(size),
        "pattern": "trajectory",
        "sampled": samples,
        "covered": int(covered.sum()),
        "acceleration": pixels / int(covered.sum()),
        "acs": central_width(covered, size[0]),
    }
