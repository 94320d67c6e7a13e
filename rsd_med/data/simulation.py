"""Simulated multi-coil scans of magnitude images, written in the HDF5 layout of the fastMRI data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rsd_med import __version__
from rsd_med.base.draws import Draws
from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.multicoil_fourier import LinePattern, draw_lines
from rsd_med.data.coils import birdcage_maps, smooth_phase, steep_places
from rsd_med.data.scan import Picture, Scan
from rsd_med.data.writing.hdf5 import written_hdf5
from rsd_med.operators.fourier import fft2c, ifft2c
from rsd_med.operators.masks import MaskDesign, achieved_acceleration
from rsd_med.operators.noise import complex_or_real_noise

PHASE_RMS = 0.8
"""Root mean square of the simulated phase in radians."""

_ACS_FRACTION = 0.32  # fastMRI: 8 % of the columns at 4-fold, 4 % at 8-fold acceleration


@dataclass(frozen=True)
class Scanner:
    """What the simulated scanner does.

    Attributes
    ----------
    coils
        Number of receive coils.
    sigma
        Noise in k-space: standard deviation per real component, where white is 1.
    acceleration
        One in this many columns is measured; None measures all.
    acs_lines
        Fully sampled central columns; None is fastMRI's share, 0.32 / acceleration of all columns.
    pattern
        How the other columns are drawn.
    mask_per_slice
        Draw a mask for every slice; else one for the file, as fastMRI has it.
    phase
        ``smooth`` gives each real image a random smooth phase; ``none`` leaves it real.
    varied
        Scans differ as those of a hospital do: noise between a tenth of ``sigma`` and ``sigma``, uniformly in its
        logarithm; real images get phase of unlike strength, with steep places, and shading.
    with_reference
        Store the reconstruction of the fully sampled data in undersampled files too.
    seed
        Everything random derives from it.
    """

    coils: int = 4
    sigma: float = 0.0
    acceleration: float | None = 4.0
    acs_lines: int | None = None
    pattern: LinePattern = "random"
    mask_per_slice: bool = False
    phase: Literal["smooth", "none"] = "smooth"
    varied: bool = False
    with_reference: bool = False
    seed: int = 0

    def lines(self, columns: int) -> int:
        """Return the number of fully sampled central columns of ``columns``."""
        if self.acs_lines is not None:
            return self.acs_lines
        return max(1, round(_ACS_FRACTION * columns / (self.acceleration or 1.0)))

    def mask(self, columns: int, *item: object) -> Tensor:
        """Draw the sampled columns, bool (x,), of an item.

        Raises
        ------
        ProtocolError
            If acceleration and central lines do not go together.
        """
        if self.acceleration is None:
            return torch.ones(columns, dtype=torch.bool)
        generator = generator_for(self.seed, "simulate", "mask", *item)
        try:
            design = MaskDesign(columns, self.acceleration, self.lines(columns))
            return draw_lines(self.pattern)(design, 1, generator)[0]
        except ValueError as error:
            raise ProtocolError(f"--acceleration, --acs-lines, --pattern: {error}") from error

    def scan(self, image: Tensor, *item: object) -> tuple[Tensor, Tensor]:
        """Scan one image without undersampling.

        Parameters
        ----------
        image
            float32, (y, x), non-negative, or complex64, which keeps its own phase.
        item
            What the random draws derive from, besides the seed.

        Returns
        -------
        tuple of Tensor
            k-space, complex64, (coil, y, x); and the coil maps, of the same type and shape.
        """
        rows, columns = image.shape

        def draw(part: str) -> Draws:
            return generator_for(self.seed, "simulate", part, *item)

        variety = draw("variety") if self.varied else None
        strength, shading, share = (1.0, 0.0, 1.0) if variety is None else _variety(variety)
        if not image.is_complex():
            shape, amplitude = (rows, columns), PHASE_RMS if self.phase == "smooth" else 0.0
            phase = smooth_phase(shape, draw("phase"), amplitude=strength * amplitude)
            if variety is not None:
                phase = phase + amplitude * steep_places(shape, variety)
                image = image * smooth_phase(shape, variety, amplitude=shading).exp()
            image = torch.polar(image, phase)
        maps = birdcage_maps(self.coils, (rows, columns), draw("coils"))
        kspace = fft2c(maps * image)
        if self.sigma > 0:
            kspace = kspace + complex_or_real_noise(kspace, share * self.sigma, draw("noise"))
        return kspace, maps


def _variety(draws: Draws) -> tuple[float, float, float]:
    """Draw how strong the phase is, and the shading, and the share of the noise."""
    phase, shading, noise = draws.uniform(3).tolist()
    return 0.3 + 1.7 * phase, 0.6 * shading, 0.1**noise


def magnitude(picture: Picture) -> Tensor:
    """Return a picture as something to scan.

    Parameters
    ----------
    picture
        One channel, real in [-1, 1] or complex.

    Returns
    -------
    Tensor
        (y, x): float32 in [0, 1], black is 0; or the complex image.

    Raises
    ------
    DataError
        If the picture has colours.
    """
    if picture.image.shape[0] != 1:
        raise DataError(f"{picture.id}: the image has {picture.image.shape[0]} channels; give images of one channel.")
    image = picture.image[0]
    return image if image.is_complex() else (image + 1) / 2


def single_coil_scan(picture: Picture) -> Scan:
    """Return the fully sampled scan of a picture by one coil that sees everything alike, without noise.

    Raises
    ------
    DataError
        If the picture has colours.
    """
    image = magnitude(picture).to(torch.complex64)
    acquired = torch.ones(image.shape[-1], dtype=torch.bool)
    return Scan(picture.id, fft2c(image[None]), acquired, geometry=picture.geometry)


def write_scans(path: Path, images: Sequence[Tensor], scanner: Scanner, spacing: tuple[float, float]) -> None:
    """Scan images of one size into one file, which appears under its name only when it is complete.

    The file holds ``kspace`` (slice, coil, y, x), complex64, zero where not sampled; ``sensitivity_maps``, the same
    shape: the true coil maps, standing for a calibration scan; ``ismrmrd_header``; ``mask``, (x,) or (slice, x), and
    the attributes ``acceleration`` (as requested), ``achieved_acceleration`` and ``num_low_frequency`` where
    undersampled; ``reconstruction_rss``, (slice, y, x),
    with ``max`` and ``norm``, where fully sampled or asked for.

    Parameters
    ----------
    path
        Where to; the folder exists.
    images
        float32 or complex64, (y, x), at least one.
    scanner
        How to scan.
    spacing
        Pixel spacing (y, x) in millimetres, for the header.

    Raises
    ------
    ProtocolError
        If acceleration and central lines do not go together.
    OSError
        If the disk is full or the folder cannot be written; nothing half-written stays.
    """
    rows, columns = images[0].shape
    shape = (len(images), scanner.coils, rows, columns)
    undersampled = scanner.acceleration is not None
    keep_reference = scanner.with_reference or not undersampled
    name = path.stem
    masks = [scanner.mask(columns, name, number if scanner.mask_per_slice else "file") for number in range(len(images))]
    with written_hdf5(path) as file:
        file["ismrmrd_header"] = np.bytes_(ismrmrd_header((rows, columns), scanner.coils, len(images), spacing))
        kspace = file.create_dataset("kspace", shape, np.complex64)
        maps = file.create_dataset("sensitivity_maps", shape, np.complex64)
        references = np.zeros((len(images), rows, columns), np.float32)
        for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
            full, slice_maps = scanner.scan(image, name, number)
            kspace[number] = torch.where(mask, full, 0).numpy()
            maps[number] = slice_maps.numpy()
            references[number] = ifft2c(full).abs().square().sum(0).sqrt().numpy()
        file.attrs.update(acquisition="SIMULATED", patient_id="simulated", software=f"rsd_med {__version__}")
        if keep_reference:
            file["reconstruction_rss"] = references
            # Of the reference, and therefore only where it is: an undersampled file must not tell its brightness.
            file.attrs.update(max=float(references.max()), norm=float(np.linalg.norm(references)))
        if undersampled:
            file["mask"] = torch.stack(masks).numpy() if scanner.mask_per_slice else masks[0].numpy()
            file.attrs.update(
                acceleration=scanner.acceleration,
                achieved_acceleration=achieved_acceleration(torch.stack(masks)),
                num_low_frequency=scanner.lines(columns),
            )


def ismrmrd_header(shape: tuple[int, int], coils: int, slices: int, spacing: tuple[float, float]) -> str:
    """Return the ISMRMRD header of a simulated scan without readout oversampling.

    Parameters
    ----------
    shape
        Matrix (y, x); the readout is y, ISMRMRD's x.
    coils, slices
        Their numbers.
    spacing
        Pixel spacing (y, x) in millimetres; the slice is given 5 mm, which means nothing.

    Returns
    -------
    str
        XML.
    """
    rows, columns = shape
    space = (
        f"<matrixSize><x>{rows}</x><y>{columns}</y><z>1</z></matrixSize><fieldOfView_mm><x>{rows * spacing[0]:.6g}</x>"
        f"<y>{columns * spacing[1]:.6g}</y><z>5</z></fieldOfView_mm>"
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        f"<acquisitionSystemInformation><systemVendor>simulated</systemVendor><receiverChannels>{coils}"
        "</receiverChannels></acquisitionSystemInformation><experimentalConditions><H1resonanceFrequency_Hz>63860000"
        f"</H1resonanceFrequency_Hz></experimentalConditions><encoding><encodedSpace>{space}</encodedSpace><reconSpace>"
        f"{space}</reconSpace><encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{columns - 1}"
        f"</maximum><center>{columns // 2}</center></kspace_encoding_step_1><slice><minimum>0</minimum><maximum>"
        f"{slices - 1}</maximum><center>0</center></slice></encodingLimits><trajectory>cartesian</trajectory>"
        "</encoding></ismrmrdHeader>"
    )
