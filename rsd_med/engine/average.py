"""Exponential moving average of weights whose half-life is counted in images."""

from collections.abc import Sequence
from typing import Generic, TypeVar, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from rsd_med.engine.settings import AverageSettings

Network = TypeVar("Network", bound=nn.Module)


class WeightAverage(Generic[Network]):
    """``θ_EMA ← β θ_EMA + (1 − β) θ`` with ``β = 0.5^(batch / half-life)`` (EDM, appendix F; methods §1).

    The average starts as a copy of ``module`` and never computes gradients.
    """

    def __init__(self, module: Network, settings: AverageSettings) -> None:
        self.settings = settings
        self._beta = 0.0
        self._averaged = AveragedModel(module, multi_avg_fn=self._average, use_buffers=True)
        self._averaged.requires_grad_(False)
        # AveragedModel copies at its first update; here the average is already a copy.
        self._averaged.n_averaged.fill_(1)

    @property
    def module(self) -> Network:
        """The averaged network."""
        return cast("Network", self._averaged.module)

    def update(self, module: nn.Module, images: int, batch_size: int) -> None:
        """Move towards ``module`` by one batch, after ``images`` images."""
        half_life = max(min(self.settings.half_life, self.settings.ramp_up * images), 1e-8)
        self._beta = 0.5 ** (batch_size / half_life)
        self._averaged.update_parameters(module)

    @torch.no_grad()
    def _average(self, averaged: Sequence[torch.Tensor], current: Sequence[torch.Tensor], _: object) -> None:
        torch._foreach_lerp_(list(averaged), list(current), 1 - self._beta)
