"""Coil compression: a few virtual coils that hold nearly all of what many coils saw."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.calibration.whitening import combine_coils


@dataclass(frozen=True)
class CoilCompression:
    """Compressed k-space and how it came about.

    Attributes
    ----------
    kspace
        complex64, (n, y, x).
    matrix
        complex64, (n, coil) with orthonormal rows; or one for every position along the readout, (y, n, coil).
    energy_kept
        Energy of the compressed k-space as a fraction of that before, 0 to 1.
    """

    kspace: Tensor
    matrix: Tensor
    energy_kept: float

    def maps(self, maps: Tensor) -> Tensor:
        """Return coil maps (coil, y, x) as the virtual coils have them, complex64, (n, y, x); not normalised."""
        if self.matrix.ndim == 2:
            return combine_coils(self.matrix, maps)
        return torch.einsum("ync,cyx->nyx", self.matrix, maps.to(torch.complex64))

    def expand(self, images: Tensor) -> Tensor:
        """Return images (n, y, x) of the virtual coils as the coils before them have these, complex64, (coil, y, x)."""
        if self.matrix.ndim == 2:
            return combine_coils(self.matrix.mH, images)
        return torch.einsum("ync,nyx->cyx", self.matrix.conj(), images.to(torch.complex64))

    def apply(self, kspace: Tensor) -> Tensor:
        """Return other k-space (coil, y, x) of the same coils compressed in the same way, complex64, (n, y, x)."""
        return _apply(self.matrix, kspace)


def compress_coils(kspace: Tensor, n: int, geometric: bool = False) -> CoilCompression:
    """Combine coils to ``n`` virtual coils of the most energy.

    The rows of the matrix are the dominant left singular vectors of k-space as a coil × sample matrix (Buehrer et
    al., Magn. Reson. Med. 57, 2007). They are orthonormal, so white noise stays white and of the same σ: whiten first.

    ``geometric`` finds a matrix for every position along the readout, where fewer coils see the object, and turns
    each so that it follows on from its neighbour (Zhang et al., Magn. Reson. Med. 69, 2013). Without the alignment the
    virtual coils' maps would jump from row to row.

    Parameters
    ----------
    kspace
        Measured k-space, complex64, (coil, y, x), zero where not sampled.
    n
        Number of virtual coils, from 1 to the number of coils.
    geometric
        Compress every position along the readout y on its own; rows must be sampled alike in all columns.

    Returns
    -------
    CoilCompression
        Compressed k-space, zero where ``kspace`` is.

    Raises
    ------
    DataError
        If there are fewer coils than asked for, k-space is zero, or ``geometric`` is asked for and rows are missing.
    """
    coils = kspace.shape[0]
    if not 1 <= n <= coils:
        raise DataError(f"{coils} coils cannot be compressed to {n}; ask for 1 to {coils}.")
    unit = kspace.abs().max()
    if not bool(unit > 0):
        raise DataError("K-space is zero everywhere, so its coils cannot be compressed; remove the slice.")
    matrix = _geometric(kspace, n, unit) if geometric else _dominant((kspace / unit).flatten(1), n).to(torch.complex64)
    compressed = _apply(matrix, kspace)
    energy = (compressed / unit).abs().double().square().sum() / (kspace / unit).abs().double().square().sum()
    return CoilCompression(kspace=compressed, matrix=matrix, energy_kept=min(float(energy), 1.0))


def _apply(matrix: Tensor, kspace: Tensor) -> Tensor:
    if matrix.ndim == 2:
        return combine_coils(matrix, kspace)
    hybrid = torch.einsum("ync,cyx->nyx", matrix, _along_readout(kspace.to(torch.complex64), torch.fft.ifft))
    # Transforming there and back leaves rounding errors in columns that were never sampled.
    never = ~(kspace != 0).any(0).any(0)
    return _along_readout(hybrid, torch.fft.fft).masked_fill_(never, 0)


def _dominant(samples: Tensor, n: int) -> Tensor:
    """Return the n dominant left singular vectors of samples (*, coil, m) as rows, complex128, (*, n, coil)."""
    samples = samples.to(torch.complex128)
    vectors = torch.linalg.eigh(samples @ samples.mH).eigenvectors
    return vectors[..., -n:].flip(-1).mH


def _geometric(kspace: Tensor, n: int, unit: Tensor) -> Tensor:
    sampled = (kspace != 0).any(0)
    columns = sampled.any(0)
    if bool((sampled[:, columns].sum(0) < 0.99 * len(sampled)).any()):
        raise DataError(
            "Geometric coil compression needs every row of a sampled column, and some were not sampled; compress "
            "without it."
        )
    hybrid = _along_readout(kspace, torch.fft.ifft)  # (coil, y, x)
    matrix = _dominant((hybrid / unit).movedim(1, 0), n)  # (y, n, coil)
    # From the strongest row outwards, so that the noise of empty rows is aligned with signal and not the reverse.
    start = int(hybrid.abs().square().sum((0, 2)).argmax())
    for step, places in ((1, range(start + 1, len(matrix))), (-1, range(start - 1, -1, -1))):
        for row in places:
            matrix[row] = _aligned(matrix[row], matrix[row - step])
    return matrix.to(torch.complex64)


def _aligned(rows: Tensor, before: Tensor) -> Tensor:
    """Turn orthonormal rows (n, coil), within the space they span, as near as possible to the rows ``before``."""
    left, _, right = torch.linalg.svd(before @ rows.mH)
    return left @ right @ rows


def _along_readout(data: Tensor, transform: Callable[..., Tensor]) -> Tensor:
    shifted = torch.fft.ifftshift(data, dim=-2)
    return torch.fft.fftshift(transform(shifted, dim=-2, norm="ortho"), dim=-2)
