"""ESPIRiT: coil maps as eigenvectors of the reproducing operator of the calibration data."""

import math

import torch
from torch import Tensor

from rsd_med.calibration.eigen import dominant_eigenvectors
from rsd_med.calibration.phase import common_phase, normalised

_BAND_ELEMENTS = 1 << 20
"""Matrix entries held at once: 8 MB, so that a band of pixels stays near the processor."""


def espirit_maps(
    calibration: Tensor,
    shape: tuple[int, int],
    kernel_width: int = 6,
    threshold: float = 0.02,
    crop: float = 0.95,
    iterations: int = 64,
) -> Tensor:
    """Estimate coil maps by ESPIRiT (Uecker et al., Magn. Reson. Med. 71, 2014).

    Parameters
    ----------
    calibration
        Centre of k-space, complex64, (*batch, coil, w, w), with the zero frequency at ``w // 2``.
    shape
        Image size (y, x).
    kernel_width
        Side of the kernels; made smaller when the centre gives too few neighbourhoods.
    threshold
        Fraction of the largest singular value below which a singular vector counts as noise.
    crop
        Eigenvalue below which a pixel lies outside the support.
    iterations
        Power iterations, rounded up to a power of two.

    Returns
    -------
    Tensor
        complex64, (*batch, coil, y, x), Σ|S|² = 1 inside the support, 0 outside; phase as
        :func:`~rsd_med.calibration.phase.common_phase` sets it.
    """
    if calibration.ndim > 3:
        each = [
            espirit_maps(item, shape, kernel_width, threshold, crop, iterations) for item in calibration.flatten(0, -4)
        ]
        return torch.stack(each).unflatten(0, calibration.shape[:-3])
    maps, eigenvalues = espirit_eigenmaps(calibration, shape, kernel_width, threshold, iterations)
    return common_phase(normalised(maps * (eigenvalues > crop)), calibration)


def espirit_eigenmaps(
    calibration: Tensor,
    shape: tuple[int, int],
    kernel_width: int = 6,
    threshold: float = 0.02,
    iterations: int = 64,
) -> tuple[Tensor, Tensor]:
    """Return ESPIRiT's dominant eigenvector and eigenvalue at every pixel.

    The neighbourhoods of the calibration data, as rows of a matrix, span a space with projector P (singular vectors
    above the threshold). Averaged over the k² positions of a neighbourhood in k-space, P is a convolution; at a pixel
    r it becomes the matrix G(r), coil × coil (Uecker et al., eq. 13-15), and G(r) S(r) = S(r) where there is signal.
    The entries of P depend on positions a and b only through a − b after that average, so G is a trigonometric
    polynomial of (2k − 1)² coefficients: no kernel is ever transformed to an image.

    Parameters
    ----------
    calibration, shape, kernel_width, threshold, iterations
        As in :func:`espirit_maps`; without batch.

    Returns
    -------
    tuple of Tensor
        Unit vectors, complex64, (coil, y, x), of any phase; eigenvalues in [0, 1], float32, (y, x).
    """
    coils, width = calibration.shape[0], calibration.shape[-1]
    kernel = fitting_kernel(kernel_width, width)
    coefficients = _correlations(_projector(calibration, kernel, threshold), coils, kernel)
    y_waves, x_waves = (_waves(size, kernel, calibration.device) for size in shape)
    rows, columns = shape
    band = max(1, _BAND_ELEMENTS // (columns * coils**2))
    vectors = torch.empty(rows, columns, coils, dtype=torch.complex64, device=calibration.device)
    values = torch.empty(rows, columns, device=calibration.device)
    for first in range(0, rows, band):
        # (band, dy) (dy, dx c c) -> (band, dx, c c), then (x, dx) (dx, c c) for every row
        along_y = (y_waves[first : first + band] @ coefficients.flatten(1)).unflatten(1, (2 * kernel - 1, -1))
        matrices = (x_waves @ along_y).reshape(-1, coils, coils)
        vector, value = dominant_eigenvectors(matrices, iterations)
        vectors[first : first + band] = vector.unflatten(0, (-1, columns))
        values[first : first + band] = value.unflatten(0, (-1, columns))
    return vectors.movedim(-1, 0), values


def fitting_kernel(kernel: int, width: int) -> int:
    """Shrink a kernel until the centre holds at least as many neighbourhoods along a side as the kernel has entries."""
    while kernel > 2 and (width - kernel + 1) < kernel:
        kernel -= 1
    return kernel


def _projector(calibration: Tensor, kernel: int, threshold: float) -> Tensor:
    """Return the projector on the space of neighbourhoods, complex128, (coil k k, coil k k)."""
    # The maps do not depend on the units of k-space; unit size keeps float32 away from its limits.
    unit = (calibration / calibration.abs().max()).to(torch.complex128)
    windows = unit.unfold(1, kernel, 1).unfold(2, kernel, 1)  # (coil, ny, nx, k, k)
    rows = windows.permute(1, 2, 0, 3, 4).flatten(0, 1).flatten(1)
    # The smaller Gram matrix gives the singular vectors; double precision makes up for squaring the singular values.
    if rows.shape[0] < rows.shape[1]:
        squares, left = torch.linalg.eigh(rows @ rows.mH)
        signal = squares > threshold**2 * squares[-1]
        right = rows.mT @ (left[:, signal] / squares[signal].sqrt()).conj()
    else:
        squares, vectors = torch.linalg.eigh(rows.mT @ rows.conj())
        right = vectors[:, squares > threshold**2 * squares[-1]]
    return right @ right.mH


def _correlations(projector: Tensor, coils: int, kernel: int) -> Tensor:
    """Sum the projector over equal differences of position, complex64, (dy, dx, coil coil); dy = a_y − b_y."""
    parts = projector.reshape(coils, kernel, kernel, coils, kernel, kernel).permute(1, 2, 4, 5, 0, 3)
    size = 2 * kernel - 1
    total = projector.new_zeros(size, size, coils, coils)
    for y in range(kernel):
        for x in range(kernel):
            total[y : y + kernel, x : x + kernel] += parts[y, x].flip(0, 1)
    return (total / kernel**2).flatten(2).to(torch.complex64)


def _waves(size: int, kernel: int, device: torch.device) -> Tensor:
    """Return e^{2πi Δ r / n} for the centred pixels r and the differences Δ, complex64, (n, 2k − 1)."""
    pixel = torch.arange(size, dtype=torch.float64, device=device) - size // 2
    shift = torch.arange(1 - kernel, kernel, dtype=torch.float64, device=device)
    angle = 2 * math.pi * pixel[:, None] * shift / size
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
