"""Our operators as sigpy's, and sigpy's as ours, so that the apps of either run on the measurements of the other.

sigpy computes in numpy, on single items: a ``Linop`` maps an image ``(y, x)`` to data without a batch, such as k-space
``(coil, y, x)``. It takes seconds to import and is imported where it is used.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsd_med.operators.linear import LinearOperator


def to_sigpy(operator: LinearOperator, image: Tensor, data: Tensor) -> Any:
    """Turn an operator on a batch of one into a ``sigpy.linop.Linop``.

    It computes where the image lies, and takes and returns numpy arrays.

    Parameters
    ----------
    operator
        A batch of one, or without a batch.
    image
        ``(1, 1, y, x)``: gives the shape of what the operator takes, and its device.
    data
        ``(1, ...)``: gives the shape of what it returns.

    Returns
    -------
    sigpy.linop.Linop
        From ``(y, x)`` to the shape of ``data`` without the batch, complex64.

    Raises
    ------
    ValueError
        If there is more than one item, or the image has channels.
    """
    if image.shape[:2] != (1, 1) or len(data) != 1:
        raise ValueError(
            f"sigpy takes one image of one channel, not images {tuple(image.shape)} with data {tuple(data.shape)}."
        )
    shapes = (tuple(data.shape[1:]), tuple(data.shape)), (tuple(image.shape[2:]), tuple(image.shape))
    return _torch_linop()(operator, *shapes, image.device)


class FromSigpy(LinearOperator):
    """A ``sigpy.linop.Linop`` from images ``(y, x)`` as an operator on batches, computed item by item on the CPU.

    Parameters
    ----------
    linop
        Complex, from a shape with two dimensions.

    Raises
    ------
    ValueError
        If it takes anything but images.
    """

    complex_domain = True

    def __init__(self, linop: Any) -> None:
        if len(linop.ishape) != 2:
            raise ValueError(f"An operator takes images (y, x), and {linop} takes {tuple(linop.ishape)}.")
        self.linop = linop

    @property
    def domain(self) -> tuple[int, ...]:
        """The shape of an image: ``(1, y, x)``."""
        return (1, *self.linop.ishape)

    @property
    def codomain(self) -> tuple[int, ...]:
        """The shape of the data of one item."""
        return tuple(self.linop.oshape)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to each image of ``(b, 1, y, x)``."""
        return self._each(self.linop, x, self.codomain)

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the adjoint to each item of the data."""
        return self._each(self.linop.H, y, self.domain)

    def _each(self, linop: Any, batch: Tensor, shape: tuple[int, ...]) -> Tensor:
        arrays = batch.numpy(force=True).reshape(len(batch), *linop.ishape)
        return torch.stack([torch.tensor(linop(array)).reshape(shape) for array in arrays]).to(batch.device)

    def _changed(self, change: Any) -> "FromSigpy":
        return self  # it holds no tensor


@cache
def _torch_linop() -> Any:
    from sigpy.linop import Linop

    class TorchLinop(Linop):
        """An operator of ours; shapes of what comes out and goes in are pairs, in numpy and as a batch in torch."""

        def __init__(self, operator: LinearOperator, out: Any, into: Any, device: torch.device) -> None:
            self.operator, self.out, self.into, self.device = operator, out, into, device
            super().__init__(out[0], into[0], repr_str=type(operator).__name__)

        def _apply(self, array: np.ndarray) -> np.ndarray:
            # A copy: torch takes neither arrays that may not be written to nor negative strides.
            batch = torch.tensor(np.ascontiguousarray(array), device=self.device).reshape(self.into[1])
            return self.operator(batch).numpy(force=True).reshape(self.out[0])

        def _adjoint_linop(self) -> "TorchLinop":
            return TorchLinop(self.operator.H, self.into, self.out, self.device)

        def _normal_linop(self) -> "TorchLinop":
            return TorchLinop(self.operator.gram, self.into, self.into, self.device)

    return TorchLinop
