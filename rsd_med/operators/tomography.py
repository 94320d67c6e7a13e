"""Parallel-beam computed tomography with few views."""

import math
from typing import ClassVar

import torch
from jaxtyping import Inexact
from torch import Tensor

from rsd_med.operators.linear import LinearOperator


class ParallelBeam(LinearOperator):
    """The Radon transform at evenly spaced angles: images ``(*batch, n, n)`` to sinograms ``(*batch, views, n)``.

    For each view the image is turned by bilinear interpolation and summed along the columns, as scikit-image's
    ``radon`` does; pixels outside the image count as zero. Divided by n: a value is the mean along a ray, so that
    sinograms have the range of images. The adjoint spreads with the very weights that the transform gathers with.

    Parameters
    ----------
    size
        n.
    views
        Number of angles, evenly spaced from 0 over 180 degrees.

    Raises
    ------
    ValueError
        If there is no view, or no image.
    """

    settings: ClassVar[tuple[str, ...]] = ("size", "views")

    def __init__(self, size: int, views: int) -> None:
        if size < 1 or views < 1:
            raise ValueError(f"Tomography needs an image and a view at least, not a side of {size} and {views} views.")
        self.size = size
        self.views = views

    def forward(self, x: Inexact[Tensor, "*b _ _"]) -> Inexact[Tensor, "*b _ _"]:
        """Project images ``(*batch, n, n)``."""
        self._require(x, (self.size, self.size))
        flat = x.flatten(-2)
        rays = []
        for view in range(self.views):
            turned = torch.zeros((), dtype=x.dtype, device=x.device)
            for index, weight in self._neighbours(view, x):
                turned = turned + flat.index_select(-1, index) * weight
            rays.append(turned.unflatten(-1, (self.size, self.size)).sum(-2))
        return torch.stack(rays, dim=-2) / self.size

    def adjoint(self, y: Inexact[Tensor, "*b _ _"]) -> Inexact[Tensor, "*b _ _"]:
        """Back-project sinograms ``(*batch, views, n)``, unfiltered."""
        self._require(y, (self.views, self.size))
        flat = y.new_zeros(*y.shape[:-2], self.size * self.size)
        for view in range(self.views):
            spread = y[..., view, None, :].expand(*y.shape[:-2], self.size, self.size).flatten(-2)
            for index, weight in self._neighbours(view, y):
                flat = flat.index_add(-1, index, spread * weight)
        return flat.unflatten(-1, (self.size, self.size)) / self.size

    def _neighbours(self, view: int, like: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return, for each of the four pixels around a turned pixel, its number and its weight, both ``(n n,)``."""
        n, real = self.size, like.real.dtype
        angle = math.pi * view / self.views
        axis = torch.arange(n, dtype=torch.float64, device=like.device) - n // 2
        row, column = axis[:, None], axis[None, :]
        x = math.cos(angle) * column + math.sin(angle) * row + n // 2
        y = math.cos(angle) * row - math.sin(angle) * column + n // 2
        neighbours = []
        for dy in (0, 1):
            for dx in (0, 1):
                i, j = y.floor() + dy, x.floor() + dx
                weight = (1 - (y - i).abs()) * (1 - (x - j).abs())
                inside = (i >= 0) & (i < n) & (j >= 0) & (j < n)
                number = (i.clamp(0, n - 1) * n + j.clamp(0, n - 1)).long()
                neighbours.append((number.flatten(), (weight * inside).flatten().to(real)))
        return neighbours

    def _require(self, data: Tensor, shape: tuple[int, int]) -> None:
        if tuple(data.shape[-2:]) != shape:
            raise ValueError(
                f"Tomography of {self.size} pixels and {self.views} views needs {shape}, not {tuple(data.shape)}."
            )


class RampFilter(LinearOperator):
    """Filter every view of a sinogram with |frequency|, as filtered back-projection does; self-adjoint.

    The filter is sampled in the detector's space (Kak and Slaney, Principles of computerized tomographic imaging,
    1988, equation 3.61), which keeps the mean right; views are padded with zeros against wrapping around.
    """

    def forward(self, x: Inexact[Tensor, "*b _ _"]) -> Inexact[Tensor, "*b _ _"]:
        """Filter sinograms ``(*batch, views, n)``."""
        n = x.shape[-1]
        length = 2 * n
        offset = torch.fft.fftfreq(length, 1 / length, dtype=torch.float64, device=x.device)
        taps = torch.where(offset % 2 == 1, -1 / (math.pi * offset).square(), torch.zeros_like(offset))
        taps[0] = 0.25
        response = torch.fft.fft(taps).real.to(x.real.dtype)
        filtered = torch.fft.ifft(torch.fft.fft(x, n=length) * response)[..., :n]
        return filtered if x.is_complex() else filtered.real

    def adjoint(self, y: Inexact[Tensor, "*b _ _"]) -> Inexact[Tensor, "*b _ _"]:
        """Filter again: the filter is even and real."""
        return self.forward(y)


class BackProjection(LinearOperator):
    """Give every pixel the sum of what its rays saw: sinograms ``(*batch, views, n)`` to images ``(*batch, n, n)``.

    A pixel reads each view where it projects to, interpolated linearly. That is smoother than the adjoint of
    `ParallelBeam`, whose weights leave a pattern behind a ramp filter (11 % against 2 % of a smooth object).

    Parameters
    ----------
    size, views
        As of `ParallelBeam`.
    """

    settings: ClassVar[tuple[str, ...]] = ("size", "views")

    def __init__(self, size: int, views: int) -> None:
        self.size = size
        self.views = views

    def forward(self, x: Inexact[Tensor, "*b _ _"]) -> Inexact[Tensor, "*b _ _"]:
        """Back-project sinograms."""
        pixels = torch.zeros((), dtype=x.dtype, device=x.device)
        for view in range(self.views):
            for index, weight in self._neighbours(view, x):
                pixels = pixels + x[..., view, :].index_select(-1, index) * weight
        return pixels.unflatten(-1, (self.size, self.size))

    def adjoint(self, y: Inexact[Tensor, "*b _ _"]) -> Inexact[Tensor, "*b _ _"]:
        """Spread every pixel of images over the rays it reads."""
        flat, rays = y.flatten(-2), []
        for view in range(self.views):
            ray = y.new_zeros(*y.shape[:-2], self.size)
            for index, weight in self._neighbours(view, y):
                ray = ray.index_add(-1, index, flat * weight)
            rays.append(ray)
        return torch.stack(rays, dim=-2)

    def _neighbours(self, view: int, like: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return, for both detector elements beside a pixel's ray, number and weight, each ``(n n,)``."""
        n, angle = self.size, math.pi * view / self.views
        axis = torch.arange(n, dtype=torch.float64, device=like.device) - n // 2
        position = (math.cos(angle) * axis[None, :] - math.sin(angle) * axis[:, None]).flatten() + n // 2
        neighbours = []
        for side in (0, 1):
            element = position.floor() + side
            inside = (element >= 0) & (element < n)
            weight = (1 - (position - element).abs()) * inside
            neighbours.append((element.clamp(0, n - 1).long(), weight.to(like.real.dtype)))
        return neighbours


def filtered_back_projection(beam: ParallelBeam) -> LinearOperator:
    """Return the linear map from the sinograms of ``beam`` to images, in the images' units."""
    return math.pi * beam.size / beam.views * (BackProjection(beam.size, beam.views) @ RampFilter())
