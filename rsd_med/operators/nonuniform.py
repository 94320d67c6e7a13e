"""Non-Cartesian MRI: k-space at any positions, computed by FINUFFT (``pip install 'rsd_med[noncartesian]'``)."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from rsd_med.operators.coil_power import coil_power
from rsd_med.operators.linear import LinearOperator

ACCURACY = {torch.complex64: 1e-6, torch.complex128: 1e-13}
"""Relative accuracy asked of the transform, close to what each precision can give."""


class MultiCoilNonUniformFourier(LinearOperator):
    """The scan N S with coil maps S and the Fourier transform N to any positions in k-space.

    Maps images ``(*batch, 1, y, x)`` to samples ``(*batch, coil, 1, samples)``. At whole-numbered positions it equals
    the centred orthonormal transform: ``k[m] = (Y X)^(-1/2) sum_l S[l] x[l] exp(-2 pi i m (l - n // 2) / n)``.
    Computed on the CPU whatever the device; not under vmap.

    Parameters
    ----------
    trajectory
        Positions ``(*batch, samples, 2)`` as (k_y, k_x) in cycles per field of view, from -n/2 to n/2; real. One
        trajectory without a batch serves every item.
    maps
        Complex coil maps ``(*batch, coil, y, x)`` with at most one batch dimension.

    Raises
    ------
    ValueError
        If shapes or types do not fit, or if a position lies beyond the resolution of the maps.

    References
    ----------
    Barnett, Magland, af Klinteberg, A parallel non-uniform fast Fourier transform library based on an "exponential of
    semicircle" kernel, SIAM J. Sci. Comput. 41, 2019.
    """

    complex_domain = True
    item_tensors: ClassVar[dict[str, int]] = {"trajectory": 2, "maps": 3}

    def __init__(self, trajectory: Tensor, maps: Tensor) -> None:
        if not maps.is_complex() or maps.ndim not in (3, 4):
            raise ValueError(
                f"Coil maps are complex of shape (coil, y, x) or (b, coil, y, x), not {tuple(maps.shape)}."
            )
        if trajectory.is_complex() or trajectory.ndim not in (2, 3) or trajectory.shape[-1] != 2:
            raise ValueError(
                f"A trajectory is real of shape (samples, 2) or (b, samples, 2), not {tuple(trajectory.shape)}."
            )
        if trajectory.ndim == 3 and (maps.ndim == 3 or len(trajectory) != len(maps)):
            raise ValueError(
                f"Trajectories {tuple(trajectory.shape)} and coil maps {tuple(maps.shape)} differ in their batch."
            )
        require_resolved(trajectory, (maps.shape[-2], maps.shape[-1]))
        self.trajectory = trajectory
        self.maps = maps
        self._density: Tensor | None = None

    @property
    def domain(self) -> tuple[int, ...]:
        """The image: ``(1, y, x)``."""
        return (1, *self.maps.shape[-2:])

    @property
    def codomain(self) -> tuple[int, ...]:
        """The samples: ``(coil, 1, samples)``."""
        return (self.maps.shape[-3], 1, self.trajectory.shape[-2])

    @property
    def coil_maps(self) -> Tensor:
        """The maps."""
        return self.maps

    def frequencies(self, data: Tensor) -> Tensor:
        """Return where the samples lie, ``(*batch, 1, 1, samples, 2)``: from -1 to 1 along each axis."""
        half = torch.tensor(self.maps.shape[-2:], dtype=self.trajectory.dtype, device=self.trajectory.device) / 2
        return (self.trajectory / half)[..., None, None, :, :]

    def restricted(self, data: Tensor, chosen: Tensor) -> tuple["MultiCoilNonUniformFourier", Tensor]:
        """Return the scan along the chosen samples, boolean ``(…, samples)``, and its data."""
        samples = chosen.reshape(-1, chosen.shape[-1])[0]
        return type(self)(self.trajectory[..., samples, :], self.maps), data[..., samples]

    def support(self) -> Tensor:
        """Return where any coil sees the image, bool ``(*batch, 1, y, x)``."""
        return (self.maps != 0).any(-3, keepdim=True)

    def normal_diagonal(self, image: Tensor) -> Tensor:
        """Return the samples for each pixel, which is the diagonal of N^H N everywhere, times Σ_c |S_c|²."""
        return self.trajectory.shape[-2] / math.prod(self.maps.shape[-2:]) * coil_power(self.maps)

    def approximate_image(self, data: Tensor) -> Tensor:
        """Grid the samples, each weighted by the area of k-space for which it stands."""
        if self._density is None:
            size = (self.maps.shape[-2], self.maps.shape[-1])
            items = self.trajectory if self.trajectory.ndim == 3 else self.trajectory[None]
            densities = [density_compensation(positions, size) for positions in items]
            self._density = torch.stack(densities)[:, None, None].to(data.device, data.real.dtype)
        return self.H(self._density * data)

    def forward(self, x: Tensor) -> Tensor:
        """Sample images ``(*batch, 1, y, x)``."""
        self._require(x, (1, *self.maps.shape[-2:]))
        weighted = self.maps * x
        if self.trajectory.ndim == 2:
            return to_samples(weighted, self.trajectory)[..., None, :]
        items = zip(weighted, self.trajectory, strict=True)
        return torch.stack([to_samples(images, positions) for images, positions in items])[..., None, :]

    def adjoint(self, y: Tensor) -> Tensor:
        """Grid samples ``(*batch, coil, 1, samples)`` to images ``(*batch, 1, y, x)``, without weights."""
        self._require(y, (self.maps.shape[-3], 1, self.trajectory.shape[-2]))
        size = (self.maps.shape[-2], self.maps.shape[-1])
        samples = y[..., 0, :]
        if self.trajectory.ndim == 2:
            images = to_images(samples, self.trajectory, size)
        else:
            items = zip(samples, self.trajectory, strict=True)
            images = torch.stack([to_images(sample, positions, size) for sample, positions in items])
        return (self.maps.conj() * images).sum(dim=-3, keepdim=True)

    def _require(self, data: Tensor, item: tuple[int, ...]) -> None:
        expected = (*self.maps.shape[:-3], *item)
        if tuple(data.shape[-len(expected) :]) != expected or (self.maps.ndim == 4 and data.ndim != 4):
            raise ValueError(f"A non-Cartesian scan needs data of shape {expected}, not {tuple(data.shape)}.")


def to_samples(images: Tensor, trajectory: Tensor) -> Tensor:
    """Transform images to k-space at given positions.

    Parameters
    ----------
    images
        ``(..., y, x)`` complex64 or complex128.
    trajectory
        ``(samples, 2)`` as in `MultiCoilNonUniformFourier`.

    Returns
    -------
    Tensor
        ``(..., samples)``.
    """
    y_size, x_size = images.shape[-2:]
    points = _radians(trajectory, (y_size, x_size), images.dtype)
    flat = images.detach().cpu().resolve_conj().reshape(-1, y_size, x_size).contiguous().numpy()
    samples = _finufft().nufft2d2(*points, flat, isign=-1, eps=ACCURACY[images.dtype], **_threads())
    return _tensor(samples, images, (*images.shape[:-2], len(trajectory)), y_size * x_size)


def to_images(samples: Tensor, trajectory: Tensor, size: tuple[int, int]) -> Tensor:
    """Apply the adjoint of `to_samples`.

    Parameters
    ----------
    samples
        ``(..., samples)`` complex64 or complex128.
    trajectory
        ``(samples, 2)``.
    size
        ``(y, x)`` of the images.

    Returns
    -------
    Tensor
        ``(..., y, x)``.
    """
    points = _radians(trajectory, size, samples.dtype)
    flat = samples.detach().cpu().resolve_conj().reshape(-1, len(trajectory)).contiguous().numpy()
    images = _finufft().nufft2d1(*points, flat, n_modes=size, isign=1, eps=ACCURACY[samples.dtype], **_threads())
    return _tensor(images, samples, (*samples.shape[:-1], *size), size[0] * size[1])


def density_compensation(trajectory: Tensor, size: tuple[int, int], iterations: int = 20) -> Tensor:
    """Return weights under which samples count by the area of k-space for which they stand.

    They make ``A^H diag(w) y`` an approximate inverse where k-space is covered; of a full Cartesian grid they are 1.
    Pipe and Menon's iteration w <- w / (K w), where K convolves with the Fejér kernel: it is the transform of a
    triangle over the field of view, so nowhere negative, and the weights stay positive.

    Parameters
    ----------
    trajectory
        ``(samples, 2)``.
    size
        ``(y, x)`` of the images.
    iterations
        How many.

    Returns
    -------
    Tensor
        ``(samples,)`` float64, positive.

    References
    ----------
    Pipe and Menon, Sampling density compensation in MRI, Magn. Reson. Med. 41, 1999, equation 5.
    """
    triangles = [1 - (torch.arange(n, dtype=torch.float64) - n // 2).abs() / (n / 2 + 1) for n in size]
    window = triangles[0][:, None] * triangles[1]
    weights = torch.ones(len(trajectory), dtype=torch.complex128)
    for _ in range(iterations):
        density = to_samples(window * to_images(weights, trajectory, size), trajectory).real
        weights = weights / density.clamp_min(1e-12)
    return weights.real


def require_resolved(trajectory: Tensor, size: tuple[int, int]) -> None:
    """Refuse positions that are not finite or lie beyond the resolution of the image, where they would wrap around."""
    limit = torch.tensor(size, dtype=trajectory.dtype, device=trajectory.device) / 2
    if not bool((trajectory.abs() <= limit * (1 + 1e-6)).all()):
        raise ValueError(
            f"Positions in k-space lie within half of {size} cycles per field of view; some of these do not."
        )


def _finufft() -> Any:
    try:
        import finufft
    except ImportError as error:
        raise ModuleNotFoundError("Non-Cartesian scans need FINUFFT: pip install 'rsd_med[noncartesian]'.") from error
    return finufft


def _threads() -> dict[str, int]:
    """Return as many threads as torch takes."""
    return {"nthreads": torch.get_num_threads()}


def _radians(trajectory: Tensor, size: tuple[int, int], dtype: torch.dtype) -> list[Any]:
    real = torch.float32 if dtype == torch.complex64 else torch.float64
    scaled = 2 * math.pi * trajectory.detach().cpu().double() / torch.tensor(size, dtype=torch.float64)
    return [axis.to(real).contiguous().numpy() for axis in scaled.unbind(-1)]


def _tensor(values: Any, like: Tensor, shape: tuple[int, ...], pixels: int) -> Tensor:
    return torch.from_numpy(values).reshape(shape).to(like.device) / math.sqrt(pixels)
