"""What an operator tells of itself, so that who uses it need not know which one it is."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from rsd_med.operators.spectrum import hutchinson_diagonal, largest_eigenvalue
from rsd_med.operators.tensors import MadeOfTensors


class Facts(MadeOfTensors):
    """The facts, with what holds of any operator; a subclass says what it knows better."""

    complex_domain: bool = False
    """True if the operator acts on complex images only."""

    _eigenvalues: dict[Any, Tensor] | None = None

    @abstractmethod
    def normal(self, x: Tensor) -> Tensor:
        """Apply A^H A."""

    @property
    def domain(self) -> tuple[int, ...] | None:
        """The shape of an image without its batch, ``(1, y, x)``; None where images of any size are taken."""
        return None

    @property
    def codomain(self) -> tuple[int, ...] | None:
        """The shape of the data without their batch; None where it follows from the image's."""
        return None

    @property
    def coil_maps(self) -> Tensor | None:
        """The coil sensitivities ``(*batch, coil, y, x)`` of a scan, of several sets ``(*batch, set, coil, y, x)``.

        None for anything else.
        """
        return None

    @property
    def sets(self) -> int:
        """How many images one measurement is the sum of: 1, but where a scan has several sets of coil maps."""
        return 1

    def entries(self, data: Tensor) -> Tensor:
        """Return which numbers of ``data`` are measured; the others are zero whatever the image.

        Returns
        -------
        Tensor
            Boolean, broadcasts to ``data``; by default all are.
        """
        return torch.ones((1,) * data.ndim, dtype=torch.bool, device=data.device)

    def entry_counts(self, data: Tensor) -> Tensor:
        """Return how many numbers of each item of ``data`` ``(b, ...)`` are measured, int64 ``(b,)``."""
        return self.entries(data).expand_as(data).flatten(1).sum(1)

    def frequencies(self, data: Tensor) -> Tensor | None:
        """Return where in k-space each number of ``data`` was measured.

        Returns
        -------
        Tensor or None
            Real, (k_y, k_x) along one more axis at the end, and broadcasting to ``data`` without it: 0 is the centre,
            1 the highest frequency of the image along each axis. None where the data are no k-space.
        """
        return None

    def restricted(self, data: Tensor, chosen: Tensor) -> tuple[Any, Tensor] | None:
        """Return the same scan with a part of its numbers alone: its operator and its data.

        Parameters
        ----------
        data
            A batch ``(b, ...)``.
        chosen
            Boolean, broadcasts to ``data``, the same for all items of the batch and all coils: what stays.

        Returns
        -------
        tuple of operator and Tensor, or None
            None where the operator knows no such scan.
        """
        return None

    def support(self) -> Tensor:
        """Return the pixels outside of which nothing is measured: boolean, broadcasts to images; by default all."""
        return torch.ones(1, 1, 1, dtype=torch.bool, device=self.device)

    def normal_diagonal(self, image: Tensor) -> Tensor:
        """Return the diagonal of A^H A: how much of each pixel's energy is measured.

        Where a subclass knows no closed form it is estimated by `hutchinson_diagonal`, whose sum over many pixels is
        far more certain than any one of them.

        Parameters
        ----------
        image
            A batch ``(b, channels, y, x)`` that gives shape, dtype and device.

        Returns
        -------
        Tensor
            Real, broadcasts to ``image``.
        """
        return hutchinson_diagonal(self.normal, image)

    def largest_eigenvalue(self, image: Tensor) -> Tensor:
        """Return a bound from above, close to it, of the largest eigenvalue of A^H A: that of ``‖A x‖² / ‖x‖²``.

        Where a subclass knows none, by Lanczos' iteration, once for every shape of images.

        Parameters
        ----------
        image
            A batch ``(b, channels, y, x)`` that gives shape, dtype and device.

        Returns
        -------
        Tensor
            Real ``(b,)``.
        """
        if self._eigenvalues is None:
            self._eigenvalues = {}
        key = (tuple(image.shape), image.dtype)
        if key not in self._eigenvalues:
            self._eigenvalues[key] = largest_eigenvalue(self.normal, image)
        return self._eigenvalues[key]

    def __repr__(self) -> str:
        """Tell the shapes, data before image, and the name: ``<[2, 8, 64, 64] x [2, 1, 64, 64]> MultiCoilFourier``."""
        batch = [] if self.items is None else [str(self.items)]
        shapes = [
            "[" + ", ".join([*batch, *(["..."] if shape is None else map(str, shape))]) + "]"
            for shape in (self.codomain, self.domain)
        ]
        return f"<{' x '.join(shapes)}> {self._name()}"

    def _name(self) -> str:
        return type(self).__name__
