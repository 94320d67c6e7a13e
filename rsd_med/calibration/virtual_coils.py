"""The coils that a measurement is given in: the receive coils, whitened and compressed."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.calibration.compression import CoilCompression, compress_coils
from rsd_med.calibration.noise import NoiseEstimate
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.calibration.whitening import combine_coils, whitening_matrix


@dataclass(frozen=True)
class VirtualCoils:
    """Linear combinations of the receive coils; called with k-space (coil, y, x), returns that of the virtual coils.

    Attributes
    ----------
    whitening
        complex128, (coil, coil); None leaves the coils as they are.
    compression
        Of the whitened coils; None keeps all.
    """

    whitening: Tensor | None = None
    compression: CoilCompression | None = None

    def __call__(self, kspace: Tensor) -> Tensor:
        """Return the virtual coils' k-space, complex64, (n, y, x)."""
        kspace = kspace if self.whitening is None else combine_coils(self.whitening, kspace)
        return kspace if self.compression is None else self.compression.apply(kspace)

    def maps(self, maps: Tensor) -> Tensor:
        """Return the virtual coils' maps, complex64, (n, y, x) or (set, n, y, x); not normalised."""
        if maps.ndim == 4:
            return torch.stack([self.maps(one) for one in maps])
        maps = maps if self.whitening is None else combine_coils(self.whitening, maps)
        return maps if self.compression is None else self.compression.maps(maps)

    def receive(self, images: Tensor) -> Tensor:
        """Return what the receive coils have of images, or maps, of the virtual coils, complex64, (coil, y, x).

        Of compressed coils, the part that compression kept.
        """
        images = images if self.compression is None else self.compression.expand(images)
        return images if self.whitening is None else combine_coils(torch.linalg.inv(self.whitening), images)


def virtual_coils(
    kspace: Tensor, noise: NoiseEstimate | None, settings: CalibrationSettings
) -> tuple[VirtualCoils, dict[str, Any]]:
    """Choose the virtual coils of a scan.

    Parameters
    ----------
    kspace
        Measured k-space, complex64, (coil, y, x), zero where not sampled.
    noise
        Of the receive coils, where it is known.
    settings
        Whether to whiten, and how many coils to keep.

    Returns
    -------
    tuple of VirtualCoils and dict
        The coils, and the entries ``whitening`` and ``compression`` of the report.

    Raises
    ------
    DataError
        If the noise that was asked for by name cannot be whitened, or the coils not be compressed.
    """
    coils = VirtualCoils()
    report: dict[str, Any] = {"whitening": {"applied": False}}
    if noise is not None and settings.whiten:
        try:
            coils = VirtualCoils(whitening_matrix(noise.covariance))
            report["whitening"] = {"applied": True}
        except DataError as error:
            if settings.noise != "auto":
                raise
            report["whitening"]["reason"] = str(error)
    before, after = kspace.shape[0], settings.virtual_coils
    report["compression"] = {"applied": False, "coils": before}
    if after is not None and after < before:
        compression = compress_coils(coils(kspace), after, geometric=settings.compression == "geometric")
        coils = VirtualCoils(coils.whitening, compression)
        report["compression"] = {
            "applied": True,
            "method": settings.compression,
            "coils_before": before,
            "coils": after,
            "energy_kept": compression.energy_kept,
        }
    return coils, report
