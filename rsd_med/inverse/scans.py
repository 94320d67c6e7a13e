"""From a scan to the measurement that solvers take: undersampling for a test, the prior's resolution, calibration."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError, ProtocolError, UndersampledError
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.calibrate import CalibratedScan, calibrate
from rsd_med.calibration.scale import dc_window
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions.measurement import Measurement
from rsd_med.corruptions.multicoil_fourier import MultiCoilFourierSettings
from rsd_med.data.scan import Geometry, Scan
from rsd_med.inverse.fastmri_masks import fastmri_mask
from rsd_med.operators.fourier import ifft2c


@dataclass(frozen=True)
class Undersampling:
    """Retrospective undersampling, for measuring what a method loses.

    Attributes
    ----------
    acceleration
        R; None leaves the scan as it is.
    acs_lines
        Central lines that stay; None keeps 32 % of the lines that are left.
    pattern
        Of whole columns, as ``corruption.pattern``; with ``fastmri``, one of fastMRI's.
    seed
        The mask derives from it and the volume.
    volume
        What stands for the volume: all its slices have one mask. None: each slice has its own.
    fastmri
        The name of the file, where the mask shall be that of fastMRI's evaluation; the seed is not used then.
    """

    acceleration: float | None = None
    acs_lines: int | None = None
    pattern: str = "random"
    seed: int = 0
    volume: str | None = None
    fastmri: str | None = None

    def mask(self, scan: Scan) -> Tensor | None:
        """Draw the mask of a scan, bool ``(x,)``; None where nothing is left out.

        Raises
        ------
        UndersampledError
            If the scan has gaps already.
        ProtocolError
            If the numbers cannot be met.
        """
        if self.acceleration is None:
            return None
        if scan.gaps:
            raise UndersampledError(scan.id)
        lines = self.acs_lines
        if lines is None:
            columns = int(scan.acquired.sum()) if self.fastmri is None else len(scan.acquired)
            lines = max(1, round(columns * (0.32 / self.acceleration)))
        try:
            if self.fastmri is not None:
                return fastmri_mask(self.pattern, len(scan.acquired), self.acceleration, lines, self.fastmri)
            return self._drawn(scan, self.acceleration, lines)
        except ValueError as error:
            raise ProtocolError(f"--acceleration: {error}") from error

    def _drawn(self, scan: Scan, acceleration: float, lines: int) -> Tensor:
        # Unchecked: whoever draws the mask says what cannot be met.
        settings = MultiCoilFourierSettings.model_construct(
            acceleration=acceleration,
            acs_lines=lines,
            pattern=self.pattern,  # type: ignore[arg-type]
        )
        generator = generator_for(self.seed, "undersampling", self.volume or scan.id)
        return settings.build().draw_mask(len(scan.acquired), generator, scan.acquired)


@dataclass(frozen=True)
class Prepared:
    """One slice, ready for a solver.

    Attributes
    ----------
    measurement
        In scaled units.
    scan
        The calibrated scan behind it, with the report of every step.
    geometry
        Of the image.
    reference
        Magnitude of the fully sampled slice ``(y, x)`` in the file's units: root sum of squares over the coils of the
        file, as fastMRI has it; None where the scan was not undersampled by us.
    reconstructed
        (y, x) of the part of the image that figures are over; None is all of it.
    """

    measurement: Measurement
    scan: CalibratedScan
    geometry: Geometry
    reference: Tensor | None
    reconstructed: tuple[int, int] | None = None

    @property
    def report(self) -> dict[str, Any]:
        """What calibration found."""
        return self.scan.report

    def shown(self, image: Tensor) -> Tensor:
        """Return the magnitude of an image in scaled units, in the shading of the file's coils.

        Parameters
        ----------
        image
            ``(..., y, x)``; of several sets of coil maps, the parts ``(set, y, x)`` complex64.

        Returns
        -------
        Tensor
            As large, of parts ``(1, y, x)``.
        """
        maps = self.scan.maps
        if maps.ndim == 4 and image.is_complex() and image.shape == (len(maps), *maps.shape[-2:]):
            coils = self.scan.coils.receive((maps.to(image.device) * image[:, None]).sum(0))
            return coils.abs().square().sum(0, keepdim=True).sqrt()
        return image.abs() * self.scan.shading().to(image.device)


def prepare(
    scan: Scan,
    undersampling: Undersampling,
    settings: CalibrationSettings | None = None,
    *,
    size: tuple[int, int] | None = None,
    acs_lines: int | None = None,
) -> Prepared:
    """Turn a scan into a measurement.

    Parameters
    ----------
    scan
        One slice.
    undersampling
        What is left out of it.
    settings
        Of calibration: the run's, where a prior of a run is used.
    size
        (y, x): keep only so much of the centre of k-space, an image of lower resolution; None keeps all.
    acs_lines
        Central lines that the scale is taken from: as many as in the prior's training.

    Raises
    ------
    DataError
        If the scan cannot be calibrated, or is smaller than ``size``.
    ProtocolError
        If it is to be cropped and its maps come from a file.
    """
    if size is not None:
        if settings is not None and settings.maps.file is not None:
            raise ProtocolError(
                "--crop-kspace makes another matrix than that of the coil maps' file; leave one of them out."
            )
        scan = at_lower_resolution(scan, size)
    mask = undersampling.mask(scan)
    try:
        calibrated = calibrate(scan, settings, mask, acs_lines)
    except DataError as error:
        raise DataError(error.message, item=scan.id) from error
    reference = None
    if mask is not None:
        reference = ifft2c(torch.where(scan.acquired, scan.kspace, 0)).abs().square().sum(0).sqrt()
    return Prepared(calibrated.measurement(scan.id), calibrated, scan.geometry, reference, scan.reconstructed)


def at_lower_resolution(scan: Scan, size: tuple[int, int]) -> Scan:
    """Keep the centre of k-space: the same field of view in fewer, larger pixels.

    Raises
    ------
    DataError
        If the scan has fewer samples than that.
    """
    if scan.trajectory is not None:
        raise DataError(f"{scan.id}: only Cartesian k-space is cropped; use --any-size, or a prior of the scan's size.")
    rows, columns = scan.kspace.shape[-2:]
    if size[0] > rows or size[1] > columns:
        raise DataError(
            f"the scan has {rows} x {columns} samples, fewer than the {size[0]} x {size[1]} of the prior; "
            "use a method without a prior.",
            item=scan.id,
        )
    y, x = dc_window(rows, size[0]), dc_window(columns, size[1])
    factors = (rows / size[0], columns / size[1])
    return replace(
        scan,
        kspace=scan.kspace[:, y, x].contiguous(),
        acquired=scan.acquired[x],
        # Maps are smooth: those of the smaller image are estimated anew.
        maps=None,
        calibration=None if scan.calibration is None else scan.calibration[:, y, x].contiguous(),
        readout=None if scan.readout is None else scan.readout[y],
        sampled=None if scan.sampled is None else scan.sampled[y, x],
        geometry=_coarser(scan.geometry, (rows, columns), size, factors),
        reconstructed=_in_coarser(scan.reconstructed, factors),
    )


def _in_coarser(part: tuple[int, int] | None, factors: tuple[float, float]) -> tuple[int, int] | None:
    return None if part is None else (max(1, round(part[0] / factors[0])), max(1, round(part[1] / factors[1])))


def _coarser(
    geometry: Geometry, full: tuple[int, int], cropped: tuple[int, int], factors: tuple[float, float]
) -> Geometry:
    """Return the geometry of larger pixels, of which the one at the centre (n // 2) stays where it was."""
    affine, spacing = geometry.affine, geometry.spacing_mm
    if affine is not None:
        step = np.eye(4)
        for axis in (0, 1):
            step[axis, axis] = factors[axis]
            step[axis, 3] = full[axis] // 2 - factors[axis] * (cropped[axis] // 2)
        affine = np.asarray(affine, dtype=np.float64) @ step
    if spacing is not None:
        spacing = (spacing[0] * factors[0], spacing[1] * factors[1], *spacing[2:])
    return Geometry(affine, spacing)
