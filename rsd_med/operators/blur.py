"""Blurring: convolution with a small kernel, images continued by reflection."""

from typing import ClassVar

import torch
from jaxtyping import Float, Inexact
from torch import Tensor
from torch.nn import functional

from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.precision import all_digits


class Blur(LinearOperator):
    """Convolve every channel with a kernel; images are continued by reflection about their border pixels.

    Real and complex images alike. The adjoint is exact: the transposed convolution, with what falls beyond the
    border folded back.

    Parameters
    ----------
    kernel
        Real, ``(*batch, 1, k, k)`` with k odd, at most one batch dimension. float32 or float64, that of the images'
        real parts.

    Raises
    ------
    ValueError
        If the kernel is of another kind.
    """

    item_tensors: ClassVar[dict[str, int]] = {"kernel": 3}

    def __init__(self, kernel: Tensor) -> None:
        shape = tuple(kernel.shape)
        if kernel.is_complex() or len(shape) not in (3, 4) or shape[-3] != 1 or shape[-1] != shape[-2]:
            raise ValueError(
                f"A blurring kernel is real of shape (1, k, k) or (b, 1, k, k), not {kernel.dtype} of shape {shape}."
            )
        if shape[-1] % 2 == 0:
            raise ValueError(f"A blurring kernel has an odd side, not {shape[-1]}: an even one has no centre.")
        self.kernel = kernel

    def forward(self, x: Inexact[Tensor, "*b c y x"]) -> Inexact[Tensor, "*b c y x"]:
        """Blur images ``(b, channels, y, x)``."""
        if x.is_complex():
            return torch.complex(self.forward(x.real), self.forward(x.imag))
        rows, columns = (self._reflected(n, x.device) for n in x.shape[-2:])
        padded = x.index_select(-2, rows).index_select(-1, columns)
        flat = padded.reshape(1, -1, *padded.shape[-2:])
        with all_digits(flat):
            blurred = functional.conv2d(flat, self._kernels(x).flip(-2, -1), groups=flat.shape[1])
        return blurred.reshape(x.shape)

    def adjoint(self, y: Inexact[Tensor, "*b c y x"]) -> Inexact[Tensor, "*b c y x"]:
        """Apply the transpose to images ``(b, channels, y, x)``."""
        if y.is_complex():
            return torch.complex(self.adjoint(y.real), self.adjoint(y.imag))
        flat = y.reshape(1, -1, *y.shape[-2:])
        with all_digits(flat):
            padded = functional.conv_transpose2d(flat, self._kernels(y).flip(-2, -1), groups=flat.shape[1])
        padded = padded.reshape(*y.shape[:-2], *padded.shape[-2:])
        rows, columns = (self._reflected(n, y.device) for n in y.shape[-2:])
        folded = y.new_zeros(*y.shape[:-1], padded.shape[-1])
        folded = folded.index_add(-2, rows, padded)
        return torch.zeros_like(y).index_add(-1, columns, folded)

    def _kernels(self, x: Tensor) -> Tensor:
        """Return one kernel for every channel of every item ``(b C, 1, k, k)``."""
        items, channels = x.shape[:2]
        kernel = self.kernel if self.kernel.ndim == 4 else self.kernel[None]
        if x.ndim != 4 or len(kernel) not in (1, items):
            raise ValueError(
                f"Images of shape {tuple(x.shape)} do not fit blurring kernels of shape {tuple(self.kernel.shape)}."
            )
        side = kernel.shape[-1]
        return kernel[:, None].expand(items, channels, 1, side, side).reshape(-1, 1, side, side)

    def _reflected(self, length: int, device: torch.device) -> Tensor:
        radius = self.kernel.shape[-1] // 2
        if radius >= length:
            raise ValueError(f"An image side of {length} is too short for a kernel of side {self.kernel.shape[-1]}.")
        positions = torch.arange(-radius, length + radius, device=device).abs()
        return torch.where(positions < length, positions, 2 * (length - 1) - positions)


def gaussian_kernel(side: int, std: float) -> Float[Tensor, "1 side side"]:
    """Return the published blurring kernel: a delta image blurred by scipy's ``gaussian_filter`` (arXiv 2407.01014).

    That filter reaches 4 std and reflects at the border of the delta image, which the last bits of the kernel show.

    Parameters
    ----------
    side
        Odd, in pixels.
    std
        Standard deviation in pixels.

    Returns
    -------
    Tensor
        ``(1, side, side)`` float32 with sum 1.
    """
    reach = int(4 * std + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets.double() / std) ** 2)
    weights /= weights.sum()
    profile = torch.zeros(side, dtype=torch.float64)
    for position in range(side):
        # Half-sample reflection: ... 1 0 | 0 1 ... side-1 | side-1 ...
        source = (position + offsets) % (2 * side)
        source = torch.where(source < side, source, 2 * side - 1 - source)
        profile[position] = weights[source == side // 2].sum()
    return torch.outer(profile, profile)[None].float()


def motion_kernel(side: int, length: Float[Tensor, " b"], angle: Float[Tensor, " b"]) -> Float[Tensor, "b 1 k k"]:
    """Return kernels of straight uniform motion: a line through the centre, one pixel wide, with soft ends.

    Parameters
    ----------
    side
        Odd, in pixels.
    length
        Of the motion in pixels ``(b,)``.
    angle
        Its direction in radians ``(b,)``, from x towards y.

    Returns
    -------
    Tensor
        ``(b, 1, side, side)`` of the dtype of ``length``, each with sum 1.
    """
    axis = torch.arange(side, dtype=length.dtype, device=length.device) - side // 2
    y, x = axis[:, None], axis[None, :]
    cos, sin = (function(angle)[:, None, None] for function in (torch.cos, torch.sin))
    along, across = (x * cos + y * sin).abs(), (y * cos - x * sin).abs()
    kernel = (length[:, None, None] / 2 + 0.5 - along).clamp(0, 1) * (1 - across).clamp(0)
    return (kernel / kernel.sum(dim=(-2, -1), keepdim=True))[:, None]
