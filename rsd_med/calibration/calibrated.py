"""What calibration reads of a scan, and what it makes of it."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.calibration.noise import SAMPLES_PER_COIL, NoiseEstimate, noise_covariance
from rsd_med.calibration.virtual_coils import VirtualCoils
from rsd_med.calibration.whitening import noise_correlation
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.linear import LinearOperator


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
        """complex64, (coil, y, x) or (set, coil, y, x)."""

    @property
    def acs_lines(self) -> int | None:
        """Fully sampled central columns, as the file says."""

    @property
    def noise(self) -> Tensor | None:
        """complex64, (coil, n)."""

    @property
    def sampled(self) -> Tensor | None:
        """bool, (y, x); None where acquired and readout say it all."""

    @property
    def trajectory(self) -> Tensor | None:
        """float32, (samples, 2); None for a Cartesian scan."""

    @property
    def matrix(self) -> tuple[int, int]:
        """(y, x) of the image."""

    @property
    def calibration(self) -> Tensor | None:
        """complex64, (coil, y, x), zero where not measured."""


@dataclass(frozen=True)
class CalibratedScan:
    """A scan in scaled units, with all that training and reconstruction need to know of it.

    Attributes
    ----------
    kspace
        complex64, (coil, y, x), or (coil, 1, samples) along a trajectory: whitened, compressed, in scaled units; zero
        where not sampled.
    operator
        A, from images in scaled units to ``kspace``; a batch of one. A sampled cell of k-space counts once.
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
    operator: LinearOperator
    sigma: float
    scale: float
    coils: VirtualCoils = field(default_factory=VirtualCoils)
    acquired: Tensor | None = None
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def maps(self) -> Tensor:
        """The coil maps, complex64, (coil, y, x) or (set, coil, y, x), Σ|S|² = 1 inside the support, 0 outside."""
        maps = self.operator.coil_maps
        assert maps is not None
        return maps[0]

    def shading(self) -> Tensor:
        """Return the root-sum-of-squares over the receive coils of an image that is 1 everywhere, float32, (y, x).

        Whitening changes how bright the same tissue looks in different places, for maps are normalised to Σ|S|² = 1
        over the whitened coils. Times this, an image has the shading of the file's own coils. 1 outside the support.
        Of several sets of maps, that of the first.
        """
        maps = self.maps if self.maps.ndim == 3 else self.maps[0]
        power = self.coils.receive(maps).abs().square().sum(0)
        return torch.where((maps != 0).any(0), power.sqrt(), 1.0)

    @property
    def mask(self) -> Tensor:
        """Which entries were sampled, bool, (1, 1, x), or (1, y, x) where not all rows of a column were."""
        return self.operator.entries(self.kspace[None])[0]

    def measurement(self, item_id: str) -> Measurement:
        """Return the scan as a measurement, a batch of one."""
        return Measurement(
            data=self.kspace[None],
            operator=self.operator,
            sigma=torch.full((1,), self.sigma),
            scale=torch.full((1,), self.scale),
            ids=(item_id,),
            acquired=None if self.acquired is None else self.acquired[None],
        )


def noise_scan(scan: RawScan, source: str) -> NoiseEstimate | None:
    """Return the noise of the file's noise scan; None where there is none, too short a one, or it is not asked for.

    Raises
    ------
    DataError
        If it is asked for by name and not there, or is of other coils.
    """
    if source == "none":
        return None
    coils = scan.kspace.shape[0]
    enough = scan.noise is not None and scan.noise.shape[1] >= SAMPLES_PER_COIL * coils
    if scan.noise is not None and (source == "scan" or (source == "auto" and enough)):
        covariance = noise_covariance(scan.noise)
        if covariance.shape[0] != coils:
            raise DataError(
                f"The noise scan has {covariance.shape[0]} coils and k-space {coils}; measure the noise with "
                "the same coils, or set calibration.noise: edges."
            )
        return NoiseEstimate(covariance=covariance, source="scan", samples=scan.noise.shape[1], excess=0.0)
    if source == "scan":
        raise DataError("The file holds no noise scan; set calibration.noise: auto.")
    return None


def noise_report(noise: NoiseEstimate | None) -> dict[str, Any]:
    """Return what a report says of the noise."""
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
