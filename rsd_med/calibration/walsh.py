"""Walsh's coil maps: eigenvectors of local coil covariances, for centres too small for ESPIRiT."""

import torch
from torch import Tensor

from rsd_med.calibration.eigen import dominant_eigenvectors
from rsd_med.calibration.phase import normalised, object_phase
from rsd_med.calibration.scale import windowed_images

_BAND_ELEMENTS = 1 << 22
"""Covariance entries held at once."""

_ITERATIONS = 64


def walsh_maps(calibration: Tensor, shape: tuple[int, int], patch: int = 9, support: float = 0.02) -> Tensor:
    """Estimate coil maps from local coil covariances of the low-resolution image: fast, and content with few lines.

    The map at a pixel is the dominant eigenvector of the coil covariance averaged over its neighbourhood (Walsh,
    Gmitro and Marcellin, Magn. Reson. Med. 43, 2000).

    Parameters
    ----------
    calibration
        Centre of k-space, complex64, (coil, w, w), with the zero frequency at ``w // 2``.
    shape
        Image size (y, x).
    patch
        Side of the neighbourhood in pixels; an even one counts as the next odd one.
    support
        Fraction of the brightest pixel below which a pixel lies outside the support.

    Returns
    -------
    Tensor
        complex64, (coil, y, x), Σ|S|² = 1 inside the support, 0 outside; phase as
        :func:`~rsd_med.calibration.phase.object_phase` sets it.
    """
    image = windowed_images(calibration, shape)
    maps = _dominant(image, patch | 1)
    magnitude = image.abs().square().sum(0).sqrt()
    inside = magnitude > support * magnitude.max()
    return object_phase(normalised(maps * inside), calibration)


def _dominant(image: Tensor, patch: int) -> Tensor:
    """Return, at every pixel, the dominant eigenvector of the coil covariance over a patch, (coil, y, x).

    Works in bands of rows: the covariances of all pixels at once would take coil² times the memory of the image.
    """
    coils, rows, columns = image.shape
    halo = patch // 2
    band = max(1, _BAND_ELEMENTS // (columns * coils**2))
    bands = []
    for first in range(0, rows, band):
        last = min(first + band, rows)
        top = max(first - halo, 0)
        rows_around = image[:, top : last + halo]
        products = torch.view_as_real(rows_around[:, None] * rows_around.conj()[None]).movedim(-1, 0).flatten(0, 2)
        # Edges average over fewer pixels than they divide by, which scales a covariance and not its eigenvectors.
        mean = torch.nn.functional.avg_pool2d(products, patch, stride=1, padding=halo)
        mean = mean[:, first - top : last - top, :columns].unflatten(0, (2, coils, coils))
        covariance = torch.complex(mean[0], mean[1]).permute(2, 3, 0, 1).flatten(0, 1)
        vectors, _ = dominant_eigenvectors(covariance, _ITERATIONS)
        bands.append(vectors.unflatten(0, (last - first, columns)))
    return torch.cat(bands).permute(2, 0, 1)
