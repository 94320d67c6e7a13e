"""Do coil maps explain the data? Measured on the fully sampled centre of k-space, against the noise."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.calibration.map_settings import FEW_LINES
from rsd_med.calibration.scale import central_width, dc_window, windowed_images
from rsd_med.operators.fourier import fft2c, ifft2c

TOLERANCE = 0.2
"""Part of the signal that usable maps may leave unexplained, besides what a small centre must.

Good maps leave 0.02 to 0.1 of a centre of 16 lines or more; maps of other coils, or turned ones, 0.25 to 0.9.
"""

_NEAR = 24
"""A larger centre is judged twice, by itself and by its middle of so many lines, where signal stands out of noise."""

_DOUBT = 1.05
"""By how much σ may be wrong."""

BRIGHT = 0.05
"""Signal begins at this part of the 99th percentile of an image."""

UNIT_NORM = 0.01
"""How far Σ|S|² may be from 1 inside the support."""


@dataclass(frozen=True)
class MapQuality:
    """How well coil maps S explain the fully sampled centre y of a scan.

    Attributes
    ----------
    normalisation
        Largest distance of Σ|S|² from 1 where the maps are not zero.
    support
        Part of the image where the maps are not zero.
    outside
        Part of the pixels with signal that lie outside the support, where images are dark: of those brighter than
        `BRIGHT` of the 99th percentile in the image of the centre. None of a centre of fewer than `FEW_LINES` lines,
        whose image blurs so far into the air that it says nothing of where signal ends.
    residual
        ‖y − A S^H F^H y‖ / ‖y‖ on the centre, A = M F S.
    noise
        What noise of the given σ leaves in that residual though the maps be perfect: √(1 − support / C) of its norm,
        the supports of several sets added.
    noise_ratio
        The residual in multiples of that; None where σ is not known. 1 is perfect.
    allowed
        The largest residual that is accepted: of the signal, `TOLERANCE`, and 1 / w more for a centre of w lines,
        whose edges cut through it; plus the noise, as power, with σ up to 5 % off.
    explains
        Whether the maps are normalised and the residual is no larger than allowed, on the whole centre as on its
        middle.
    """

    normalisation: float
    support: float
    outside: float | None
    residual: float
    noise: float
    noise_ratio: float | None
    allowed: float
    explains: bool

    def as_dict(self) -> dict[str, float | bool | None]:
        """Return the figures for a report."""
        return asdict(self)


def map_quality(maps: Tensor, kspace: Tensor, mask: Tensor, sigma: float | None = None) -> MapQuality:
    """Measure how well coil maps explain the fully sampled centre of a scan.

    The centre alone is looked at: there, S^H F^H y is an image without aliasing, and what A makes of it should be y.
    A pixel's coil values are C complex numbers; maps explain one direction of them. Noise therefore keeps
    (C − 1) / C of its energy inside the support, and all of it outside.

    Parameters
    ----------
    maps
        complex64, (coil, y, x), or several orthonormal sets (set, coil, y, x).
    kspace
        Measured k-space, complex64, (coil, y, x), zero where not sampled.
    mask
        bool, (x,) or (y, x), or either with leading axes of size 1: where k-space was sampled.
    sigma
        Noise per real component, in the units of ``kspace``; None when it is not known.

    Raises
    ------
    DataError
        If the centre was not sampled or is zero, so that nothing can be said.
    """
    rows = kspace.shape[-2]
    sampled = mask.reshape(mask.shape[-2:]) if mask.ndim > 1 else mask
    if sampled.ndim == 2 and sampled.shape[0] == 1:
        sampled = sampled[0]
    width = central_width(sampled, rows)
    if width < 1:
        raise DataError("The centre of k-space was not sampled, so coil maps cannot be checked against it.")
    sets = maps if maps.ndim == 4 else maps[None]
    power = sets.abs().square().sum(1)
    inside = power > 0
    normalisation = float((power[inside] - 1).abs().max()) if bool(inside.any()) else 1.0
    support = inside.any(0)
    directions = float(inside.sum(0).float().mean())
    residual, noise, allowed = _left_over(sets, kspace, width, sigma or 0.0, directions)
    explains = residual <= allowed
    if width > _NEAR:
        middle, _, limit = _left_over(sets, kspace, _NEAR, sigma or 0.0, directions)
        explains = explains and middle <= limit
    image = centre_image(kspace[..., dc_window(rows, width), dc_window(kspace.shape[-1], width)], support.shape)
    bright = image > BRIGHT * image.flatten().sort().values[round(0.99 * (image.numel() - 1))]
    return MapQuality(
        normalisation=normalisation,
        support=float(support.float().mean()),
        outside=None if width < FEW_LINES else float((bright & ~support).sum() / bright.sum().clamp_min(1)),
        residual=residual,
        noise=noise,
        noise_ratio=residual / noise if noise > 0 else None,
        allowed=allowed,
        explains=explains and normalisation <= UNIT_NORM,
    )


def centre_image(centre: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the root-sum-of-squares image (y, x) of the centre (coil, w, w), float32, its largest value 1."""
    image = windowed_images(centre, shape).abs().square().sum(0).sqrt()
    return image / image.max()


def _left_over(maps: Tensor, kspace: Tensor, width: int, sigma: float, directions: float) -> tuple[float, float, float]:
    """Return, for the central square of a width, the residual, what noise leaves of it, and what is allowed."""
    coils, rows, columns = kspace.shape
    square = (..., dc_window(rows, width), dc_window(columns, width))
    centre = torch.zeros_like(kspace)
    centre[square] = kspace[square]
    unit = centre.abs().max()
    if not bool(unit > 0):
        raise DataError("The centre of k-space is zero, so coil maps cannot be checked against it; remove the slice.")
    centre = centre / unit
    images = ifft2c(centre)
    explained = fft2c(torch.stack([one * (one.conj() * images).sum(0) for one in maps]).sum(0))
    size = float(centre.norm())
    residual = float((explained - centre)[square].norm()) / size
    total = (2 * coils * width**2) ** 0.5 * sigma / (float(unit) * size)
    noise = total * max(1 - directions / coils, 0.0) ** 0.5
    signal = max(1 - total**2, 0.0)
    allowed = ((TOLERANCE + 1 / width) ** 2 * signal + (_DOUBT * noise) ** 2) ** 0.5
    return residual, noise, allowed


def require_explained(quality: MapQuality) -> None:
    """Refuse maps that do not explain the data.

    Raises
    ------
    DataError
        If so, with the figures.
    """
    if quality.explains:
        return
    if quality.normalisation > UNIT_NORM:
        raise DataError(
            f"The coil maps are not normalised: Σ|S|² is off 1 by up to {quality.normalisation:.2g} inside the "
            "support; normalise them, or have them estimated."
        )
    raise DataError(
        f"The coil maps do not explain the data: {quality.residual:.0%} of the centre of k-space is left over, where "
        f"noise alone would leave {quality.noise:.0%} and usable maps at most {quality.allowed:.0%}; have them "
        "estimated (calibration.maps.kind: auto), and see that maps and scan belong together."
    )
