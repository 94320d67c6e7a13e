"""The exact denoiser of a Gaussian law, in the place of a network."""

import math

import torch
from torch import Tensor

from rsd_med.base.draws import Draws


class GaussianDenoiser:
    """``E[x | x + σ n]`` for pixels that are independent and N(mean, std²); notes the levels it is asked about."""

    def __init__(self, mean: float, std: float) -> None:
        self.mean = mean
        self.std = std
        self.levels: list[float] = []

    def __call__(self, x: Tensor, sigma: Tensor, context: Tensor | None = None) -> Tensor:
        self.levels.append(float(sigma[0]))
        variance = self.std**2 + sigma.reshape(-1, 1, 1, 1) ** 2
        return self.mean + self.std**2 / variance * (x - self.mean)

    def flow(self, x: Tensor, start: float, end: float) -> Tensor:
        """Follow the probability flow exactly: deviations from the mean shrink with the total deviation."""
        return self.mean + (x - self.mean) * math.sqrt((self.std**2 + end**2) / (self.std**2 + start**2))


class MaskedGaussianDenoiser:
    """``E[x | M (x + σ n), M]`` of N(mean, covariance) for images of one row, the mask M given as context."""

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean, self.covariance = mean, covariance

    def __call__(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        shown = context[:, 0, 0]
        total = self.covariance + sigma.reshape(-1, 1, 1) ** 2 * torch.eye(len(self.mean))
        # Hidden pixels get a row and a column of the identity: nothing is inferred from them.
        seen = shown[:, :, None] * total * shown[:, None] + torch.diag_embed(1 - shown)
        residual = (x[:, 0, 0] - self.mean) * shown
        return (self.mean + torch.linalg.solve(seen, residual) @ self.covariance)[:, None, None]


def generator(seed: int = 0) -> Draws:
    return Draws().manual_seed(seed)
