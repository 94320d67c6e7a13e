"""Muon: momentum whose step has all singular values near one (K. Jordan et al. 2024; arXiv 2502.16982).

A gradient of a layer's weights has a few large singular values and many small ones. Adam's step has them, too: it
learns what the large ones ask for, over and over. Muon's step is the nearest matrix whose singular values are all one,
so that every direction is learned at once. What is no matrix (biases, normalisation) moves by Adam.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

import torch
from pydantic import Field
from torch import Tensor, nn

from rsd_med.diffusion.compute import has_bfloat16
from rsd_med.training.optim import OptimiserSettings

LEAST_SIDE = 16
"""A matrix with a shorter side (the first and the last layer) has few directions: Adam moves it."""

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of Jordan's quintic ``aX + b(XXᵀ)X + c(XXᵀ)²X``: steep at zero, and between 0.7 and 1.2 after five rounds."""

ROUNDS = 5


class MuonSettings(OptimiserSettings):
    """Muon: every direction of a matrix is learned at once; for small budgets."""

    kind: Literal["muon"] = "muon"
    learning_rate: float = Field(
        0.01, gt=0, description="peak learning rate of the matrices: their steps' spectral norm"
    )
    adam_learning_rate: float = Field(1e-3, gt=0, description="peak learning rate of all else, which Adam moves")
    momentum: float = Field(0.95, ge=0, lt=1, description="share of the old direction in the new one")
    betas: tuple[float, float] = Field((0.9, 0.999), description="Adam's decay rates")

    def build(self, module: nn.Module) -> "Muon":
        """Build Muon over the parameters of ``module``."""
        return Muon(module.parameters(), self)


class Muon(torch.optim.Optimizer):
    """Muon over the matrices among some parameters, Adam over the others.

    The kernel of a convolution ``(outputs, inputs, ky, kx)`` is taken for the matrix ``(outputs, inputs ky kx)``.

    Parameters
    ----------
    parameters
        Of a network, float32.
    settings
        Rates and decays.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], settings: MuonSettings) -> None:
        every = list(parameters)
        matrices = [parameter for parameter in every if _is_matrix(parameter)]
        others = [parameter for parameter in every if not _is_matrix(parameter)]
        share = settings.adam_learning_rate / settings.learning_rate
        groups: list[dict[str, Any]] = [
            {"params": matrices, "matrices": True, "rate_share": 1.0},
            {"params": others, "matrices": False, "rate_share": share},
        ]
        defaults = {"lr": settings.learning_rate, "momentum": settings.momentum, "betas": settings.betas}
        super().__init__([group for group in groups if group["params"]], defaults)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient."""
        assert closure is None, "the loop computes the gradients before it asks for a step"
        for group in self.param_groups:
            moved: list[Tensor] = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moved:
                (self._move_matrices if group["matrices"] else self._move_others)(moved, group)
        return None

    def _move_matrices(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Move along Nesterov's momentum, orthogonalised; matrices of one shape together."""
        gradients = [_gradient(parameter) for parameter in parameters]
        moments = [self._state(parameter, "moment") for parameter in parameters]
        torch._foreach_lerp_(moments, gradients, 1 - group["momentum"])
        directions = torch._foreach_lerp(gradients, moments, group["momentum"])
        alike = defaultdict(list)
        for parameter, direction in zip(parameters, directions, strict=True):
            alike[direction.flatten(1).shape].append((parameter, direction))
        for (rows, columns), pairs in alike.items():
            stacked = orthogonalised(torch.stack([direction.flatten(1) for _, direction in pairs]))
            # A step of the same size in every output, however many inputs a layer has.
            rate = group["lr"] * math.sqrt(max(1.0, rows / columns))
            for (parameter, direction), step in zip(pairs, stacked, strict=True):
                parameter.add_(step.reshape(direction.shape), alpha=-rate)

    def _move_others(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Move by Adam (arXiv 1412.6980, algorithm 1)."""
        first, second = group["betas"]
        group["steps"] = group.get("steps", 0) + 1
        gradients = [_gradient(parameter) for parameter in parameters]
        means = [self._state(parameter, "mean") for parameter in parameters]
        squares = [self._state(parameter, "square") for parameter in parameters]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        scales = torch._foreach_sqrt(squares)
        torch._foreach_div_(scales, math.sqrt(1 - second ** group["steps"]))
        torch._foreach_add_(scales, 1e-8)
        torch._foreach_addcdiv_(parameters, means, scales, -group["lr"] / (1 - first ** group["steps"]))

    def _state(self, parameter: Tensor, name: str) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter)
        moment: Tensor = state[name]
        return moment


def orthogonalised(matrices: Tensor) -> Tensor:
    """Bring all singular values near one, between 0.7 and 1.2, by Newton and Schulz's iteration.

    Parameters
    ----------
    matrices
        ``(count, rows, columns)`` float32.

    Returns
    -------
    Tensor
        Of the same shape, float32. A matrix of zeros stays one.
    """
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    wide = wide / (wide.flatten(1).norm(dim=1) + 1e-7)[:, None, None]
    if has_bfloat16(matrices.device):
        wide = wide.to(torch.bfloat16)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = wide @ wide.mT
        wide = a * wide + torch.baddbmm(b * gram, gram, gram, alpha=c) @ wide
    answer = wide.to(matrices.dtype)
    return answer if matrices.shape[1] <= matrices.shape[2] else answer.mT


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and min(len(parameter), parameter[0].numel()) >= LEAST_SIDE


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
