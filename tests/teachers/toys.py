"""Gaussian images whose posterior mean is known in closed form, and a linear denoiser that can be fitted exactly."""

from typing import Any

import torch
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.corruptions import Measurement
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.operators import Identity
from rsd_med.teachers.base import Objective


def generator(seed: int = 0) -> Draws:
    return Draws().manual_seed(seed)


def one_level(sigma: float) -> LogNormalLevels:
    """Levels that are all σ: a linear denoiser can be optimal at one level only."""
    return LogNormalLevels(mean=float(torch.tensor(sigma).double().log()), std=1e-7)


class GaussianImages:
    """The law N(mean, covariance) of images in channels, of any shape ``(channels, y, x)``."""

    def __init__(self, shape: tuple[int, int, int], seed: int = 0, spread: Tensor | None = None) -> None:
        size = shape[0] * shape[1] * shape[2]
        self.shape = shape
        factor = torch.randn(size, size, generator=generator(seed), dtype=torch.float64) / size**0.5
        factor += 0.3 * torch.eye(size, dtype=torch.float64)
        if spread is not None:
            factor = spread.double().reshape(-1, 1) * factor
        self.factor = factor
        self.mean = 0.5 * torch.randn(size, generator=generator(seed + 1), dtype=torch.float64)
        self.covariance = factor @ factor.T

    def draw(self, count: int, seed: int = 2) -> Tensor:
        """``(count, channels, y, x)`` float32."""
        z = torch.randn(count, len(self.mean), generator=generator(seed), dtype=torch.float64)
        return (self.mean + z @ self.factor.T).float().reshape(count, *self.shape)

    def posterior_mean(
        self, noisy: Tensor, sigma: float, projection: Tensor | None = None, further_noise: Tensor | float = 0.0
    ) -> Tensor:
        """``E[x | P (x + σ n) + e]`` for images of noise σ, seen through the matrix P (the identity by default).

        ``further_noise`` is the covariance of e, which has the size of an image.
        """
        seen = torch.eye(len(self.mean), dtype=torch.float64) if projection is None else projection
        total = seen @ (self.covariance + sigma**2 * torch.eye(len(self.mean))) @ seen.T + further_noise
        gain = self.covariance @ seen.T @ torch.linalg.pinv(total, rtol=1e-9, hermitian=True)
        return (self.mean + (noisy.double().flatten(1) - seen @ self.mean) @ gain.T).reshape(noisy.shape)


class LinearDenoiser(nn.Module):
    """``D(x) = W x + b``, with another W and b for each context that it has been told of."""

    def __init__(self, shape: tuple[int, int, int], contexts: Tensor | None = None) -> None:
        super().__init__()
        size = shape[0] * shape[1] * shape[2]
        self.codes = torch.zeros(1, dtype=torch.float64) if contexts is None else _code(contexts).unique()
        self.gain = nn.Parameter(torch.zeros(len(self.codes), size, size))
        self.shift = nn.Parameter(torch.zeros(len(self.codes), size))
        self.whitening = torch.eye(size).repeat(len(self.codes), 1, 1)
        self.centre = torch.zeros(len(self.codes), size)

    def weight(self, sigma: Tensor) -> Tensor:
        return 0.7 / sigma

    def forward(self, x: Tensor, sigma: Tensor, context: Tensor | None = None) -> Tensor:
        flat = x.flatten(1)
        out = torch.zeros_like(flat)
        for place, rows in enumerate(self._rows(x, context)):
            white = (flat[rows] - self.centre[place]) @ self.whitening[place]
            out = out.index_put((rows,), white @ self.gain[place].T + self.shift[place])
        return out.reshape(x.shape)

    def whiten(self, x: Tensor, context: Tensor | None) -> None:
        """Learn in coordinates in which the inputs are white, so that fitting takes few steps."""
        for place, rows in enumerate(self._rows(x, context)):
            inputs = x.detach().double().flatten(1)[rows]
            values, vectors = torch.linalg.eigh(inputs.T.cov())
            scale = torch.where(values > 1e-8 * values.max(), values.clamp_min(1e-30).rsqrt(), 0)
            self.centre[place] = inputs.mean(0)
            self.whitening[place] = (vectors * scale) @ vectors.T

    def _rows(self, x: Tensor, context: Tensor | None) -> list[Tensor]:
        codes = torch.zeros(len(x), dtype=torch.float64) if context is None else _code(context)
        rows = [(codes == code).nonzero()[:, 0] for code in self.codes]
        assert sum(map(len, rows)) == len(x), "a context was never announced"
        return rows


def _code(context: Tensor) -> Tensor:
    row = context[:, 0, 0].double()
    return row @ 2.0 ** torch.arange(1, row.shape[-1] + 1, dtype=torch.float64)


def measure(images: Tensor, sigma: float = 0.0, complex_images: bool = False, seed: int = 3) -> Measurement:
    """Measurements ``x + σ ε`` of images in channels."""
    noisy = images + sigma * torch.randn(images.shape, generator=generator(seed))
    data = torch.complex(noisy[:, :1], noisy[:, 1:]) if complex_images else noisy
    count = len(images)
    return Measurement(data, Identity(), torch.full((count,), sigma), torch.ones(count), ("toy",) * count)


def fit(objective: Objective, denoiser: LinearDenoiser, measurement: Measurement, iterations: int = 25) -> None:
    """Minimise the objective on measurements with one fixed draw of levels and noise: a quadratic in W and b."""
    shown: list[Any] = []
    hook = denoiser.register_forward_pre_hook(lambda _, given: shown.append(given))
    with torch.no_grad():
        objective(denoiser, measurement, generator(4))
    hook.remove()
    denoiser.whiten(shown[0][0], shown[0][2] if len(shown[0]) > 2 else None)
    optimiser = torch.optim.LBFGS(
        denoiser.parameters(),
        max_iter=iterations,
        history_size=iterations,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = objective(denoiser, measurement, generator(4)).mean()
        value.backward()
        return value

    optimiser.step(closure)


def relative_error(found: Tensor, expected: Tensor, around: Tensor | float = 0.0) -> float:
    """Root mean square error relative to the spread of what is expected."""
    return float((found.double() - expected).norm() / (expected - around).norm())
