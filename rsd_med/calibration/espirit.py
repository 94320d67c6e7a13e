"""ESPIRiT: coil maps as eigenvectors of the reproducing operator of the calibration data."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from rsd_med.calibration.eigen import dominant_eigenvectors
from rsd_med.calibration.phase import normalised, object_phase

_BAND_ELEMENTS = 1 << 20
"""Matrix entries held at once: 8 MB, so that a band of pixels stays near the processor."""


LEAST_SECOND = 0.7
"""Second eigenvalues below this one are not looked for, and count as 0: no map is taken from them."""


@dataclass(frozen=True)
class EigenMaps:
    """ESPIRiT's eigenvectors and eigenvalues at every pixel, the largest first.

    Attributes
    ----------
    vectors
        Orthonormal at each pixel and of any phase, complex64, (set, coil, y, x). Of the second set zero where its
        eigenvalue is; without it where that is so everywhere.
    values
        In [0, 1], float32, (set, y, x).
    """

    vectors: Tensor
    values: Tensor

    def maps(self, calibration: Tensor, crop: float, sets: int = 1) -> Tensor:
        """Return coil maps: complex64, (set, coil, y, x), Σ|S|² = 1 where the eigenvalue exceeds ``crop``, else 0.

        Their phase is as :func:`~rsd_med.calibration.phase.object_phase` sets it from the calibration data.
        """
        chosen = zip(self.vectors[:sets], self.values[:sets], strict=True)
        return torch.stack(
            [object_phase(normalised(vectors * (values > crop)), calibration) for vectors, values in chosen]
        )


def espirit_maps(
    calibration: Tensor,
    shape: tuple[int, int],
    kernel_width: int = 6,
    threshold: float = 0.02,
    crop: float = 0.95,
    iterations: int = 64,
    sets: int = 1,
    sigma: float = 0.0,
) -> Tensor:
    """Estimate coil maps by ESPIRiT (Uecker et al., Magn. Reson. Med. 71, 2014).

    Parameters
    ----------
    calibration
        Centre of k-space, complex64, (coil, w, w), with the zero frequency at ``w // 2``.
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
    sets
        Maps of each coil, 1 or 2.
    sigma
        Noise per real component of ``calibration``: singular vectors that it alone could give count as noise too. With
        0, as where it is not known, a scan of much noise has eigenvalues near 1 everywhere.

    Returns
    -------
    Tensor
        complex64, (set, coil, y, x), as :meth:`EigenMaps.maps`.
    """
    eigen = espirit_eigenmaps(calibration, shape, kernel_width, threshold, iterations, sigma)
    return eigen.maps(calibration, crop, sets)


def espirit_eigenmaps(
    calibration: Tensor,
    shape: tuple[int, int],
    kernel_width: int = 6,
    threshold: float = 0.02,
    iterations: int = 64,
    sigma: float = 0.0,
) -> EigenMaps:
    """Return ESPIRiT's two dominant eigenvectors and eigenvalues at every pixel.

    The neighbourhoods of the calibration data, as rows of a matrix, span a space with projector P (singular vectors
    above the threshold). Averaged over the k² positions of a neighbourhood in k-space, P is a convolution; at a pixel
    r it becomes the matrix G(r), coil × coil (Uecker et al., eq. 13-15), and G(r) S(r) = S(r) where there is signal.
    The entries of P depend on positions a and b only through a − b after that average, so G is a trigonometric
    polynomial of (2k − 1)² coefficients: no kernel is ever transformed to an image.

    Two eigenvalues are near 1 where two places of the object fall on one pixel. Few pixels are decomposed to see so:
    elsewhere ‖D²‖_F, D what is left of G without its dominant eigenvector, bounds the second from above.

    Parameters
    ----------
    calibration, shape, kernel_width, threshold, iterations, sigma
        As in :func:`espirit_maps`.
    """
    coils, width = calibration.shape[0], calibration.shape[-1]
    kernel = fitting_kernel(kernel_width, width)
    coefficients = _correlations(_projector(calibration, kernel, threshold, sigma), coils, kernel)
    y_waves, x_waves = (_waves(size, kernel, calibration.device) for size in shape)
    rows, columns = shape
    band = max(1, _BAND_ELEMENTS // (columns * coils**2))
    vectors = torch.zeros(2, rows, columns, coils, dtype=torch.complex64, device=calibration.device)
    values = torch.zeros(2, rows, columns, device=calibration.device)
    for first in range(0, rows, band):
        # (band, dy) (dy, dx c c) -> (band, dx, c c), then (x, dx) (dx, c c) for every row
        along_y = (y_waves[first : first + band] @ coefficients.flatten(1)).unflatten(1, (2 * kernel - 1, -1))
        matrices = (x_waves @ along_y).reshape(-1, coils, coils)
        here = slice(first, first + band)
        for number, (vector, value) in enumerate(_two_dominant(matrices, iterations)):
            vectors[number, here] = vector.unflatten(0, (-1, columns))
            values[number, here] = value.unflatten(0, (-1, columns))
    sets = 2 if bool(values[1].any()) else 1
    return EigenMaps(vectors[:sets].movedim(-1, 1).contiguous(), values[:sets].contiguous())


def _two_dominant(matrices: Tensor, iterations: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the largest and the second eigenvalue (n,) with vectors (n, c); zero where the second is small."""
    vector, value = dominant_eigenvectors(matrices, iterations)
    second, second_value = torch.zeros_like(vector), torch.zeros_like(value)
    if vector.shape[-1] > 1:
        image = matrices @ vector[..., None]
        rest = matrices - image @ vector[:, None].conj()
        rest = rest - vector[..., None] @ (vector[:, None].conj() @ rest)
        possible = ((rest @ rest).flatten(1).norm(dim=1).sqrt() > LEAST_SECOND).nonzero().flatten()
        if len(possible):
            values, vectors = torch.linalg.eigh(matrices[possible])
            large = values[:, -2] > LEAST_SECOND
            chosen = possible[large]
            # Of two equal eigenvalues, both vectors come from one decomposition: they are orthonormal.
            vector[chosen], value[chosen] = vectors[large, :, -1], values[large, -1]
            second[chosen], second_value[chosen] = vectors[large, :, -2], values[large, -2]
    return (vector, value), (second, second_value)


def fitting_kernel(kernel: int, width: int) -> int:
    """Shrink a kernel until the centre holds at least as many neighbourhoods along a side as the kernel has entries."""
    while kernel > 2 and (width - kernel + 1) < kernel:
        kernel -= 1
    return kernel


def _projector(calibration: Tensor, kernel: int, threshold: float, sigma: float) -> Tensor:
    """Return the projector on the space of neighbourhoods, complex128, (coil k k, coil k k)."""
    # The maps do not depend on the units of k-space; unit size keeps float32 away from its limits.
    size = calibration.abs().max()
    rows = _neighbourhoods((calibration / size).to(torch.complex128), kernel)
    noise = 0.0 if sigma == 0 else (sigma / float(size)) ** 2 * _noise_square(tuple(calibration.shape), kernel)
    # The smaller Gram matrix gives the singular vectors; double precision makes up for squaring the singular values.
    if rows.shape[0] < rows.shape[1]:
        squares, left = torch.linalg.eigh(rows @ rows.mH)
        signal = squares > max(threshold**2 * float(squares[-1]), noise)
        right = rows.mT @ (left[:, signal] / squares[signal].sqrt()).conj()
    else:
        squares, vectors = torch.linalg.eigh(rows.mT @ rows.conj())
        right = vectors[:, squares > max(threshold**2 * float(squares[-1]), noise)]
    return right @ right.mH


def _neighbourhoods(calibration: Tensor, kernel: int) -> Tensor:
    """Return the neighbourhoods of all positions as rows, (positions, coil k k)."""
    windows = calibration.unfold(1, kernel, 1).unfold(2, kernel, 1)  # (coil, ny, nx, k, k)
    return windows.permute(1, 2, 0, 3, 4).flatten(0, 1).flatten(1)


@cache
def _noise_square(shape: tuple[int, int, int], kernel: int) -> float:
    """Return the largest squared singular value of the neighbourhoods of white noise of unit σ per real component."""
    draws = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = _neighbourhoods(torch.complex(draws[0], draws[1]), kernel)
    smaller = rows @ rows.mH if rows.shape[0] < rows.shape[1] else rows.mT @ rows.conj()
    return float(torch.linalg.eigvalsh(smaller)[-1])


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
