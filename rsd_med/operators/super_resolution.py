"""Lower resolution: anti-aliased downsampling by a whole factor."""

from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.precision import all_digits


class Downsampling(LinearOperator):
    """Reduce both sides by a factor with the anti-aliased cubic kernel of image libraries (Keys, a = -1/2).

    Separable: ``D_y X D_x^T`` with the rows of D normalised, so that constant images stay constant. Real and complex
    images alike; the adjoint multiplies by the transposes.

    Parameters
    ----------
    factor
        By how much; the sides of the images are multiples of it.
    size
        ``(y, x)`` of the images.

    Raises
    ------
    ValueError
        If the factor does not divide the size.
    """

    settings: ClassVar[tuple[str, ...]] = ("factor", "size")

    def __init__(self, factor: int, size: tuple[int, int]) -> None:
        if factor < 1 or any(n % factor for n in size):
            raise ValueError(
                f"Images of {size[0]}×{size[1]} cannot be reduced {factor} times: both sides must be multiples of it."
            )
        self.factor = factor
        self.size = size

    def forward(self, x: Inexact[Tensor, "*b _ _"]) -> Inexact[Tensor, "*b _ _"]:
        """Reduce images ``(*batch, y, x)`` to ``(*batch, y / factor, x / factor)``."""
        rows, columns = self._matrices(x)
        with all_digits(x):
            return rows @ x @ columns.mT

    def adjoint(self, y: Inexact[Tensor, "*b _ _"]) -> Inexact[Tensor, "*b _ _"]:
        """Apply the transpose to reduced images ``(*batch, y / factor, x / factor)``."""
        rows, columns = self._matrices(y)
        with all_digits(y):
            return rows.mT @ y @ columns

    def _matrices(self, like: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = (_matrix_on(n, self.factor, like.device, like.dtype) for n in self.size)
        return rows, columns


class NearestUpsampling(LinearOperator):
    """Repeat every pixel, so that reduced images are seen on the grid of the full ones.

    Parameters
    ----------
    factor
        How often, along both axes.
    """

    settings: ClassVar[tuple[str, ...]] = ("factor",)

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def forward(self, x: Inexact[Tensor, "*b _ _"]) -> Inexact[Tensor, "*b _ _"]:
        """Enlarge images ``(*batch, y, x)``."""
        return x.repeat_interleave(self.factor, dim=-2).repeat_interleave(self.factor, dim=-1)

    def adjoint(self, y: Inexact[Tensor, "*b _ _"]) -> Inexact[Tensor, "*b _ _"]:
        """Sum the blocks of images ``(*batch, y, x)``."""
        return y.unflatten(-1, (-1, self.factor)).sum(-1).unflatten(-2, (-1, self.factor)).sum(-2)


@lru_cache(maxsize=16)
def _matrix_on(length: int, factor: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return `reduction_matrix` where it is needed: a GPU is sent it once."""
    with torch.inference_mode(False):
        return reduction_matrix(length, factor).to(device, dtype)


@lru_cache(maxsize=16)
def reduction_matrix(length: int, factor: int) -> Float[Tensor, "few many"]:
    """Return the matrix of the anti-aliased cubic reduction of an axis.

    The kernel is stretched by the factor; at the borders it is cut off and normalised.

    Parameters
    ----------
    length
        Of the axis.
    factor
        Divides the length.

    Returns
    -------
    Tensor
        ``(length / factor, length)`` float64; shared by all callers, so not to be changed.

    References
    ----------
    Keys, Cubic convolution interpolation for digital image processing, IEEE Trans. ASSP 29, 1981.
    """
    with torch.inference_mode(False):
        centres = (torch.arange(length // factor, dtype=torch.float64) + 0.5) * factor - 0.5
        distance = ((torch.arange(length, dtype=torch.float64) - centres[:, None]) / factor).abs()
        near = (1.5 * distance - 2.5) * distance.square() + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
        return weights / weights.sum(dim=1, keepdim=True)
