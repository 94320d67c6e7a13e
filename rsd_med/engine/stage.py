"""What the loop asks of a stage of training."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import nn

from rsd_med.corruptions.measurement import Measurement
from rsd_med.engine.settings import OptimiserSettings


class Stage(ABC):
    """Networks and optimisers that a loop drives through a number of images.

    Attributes
    ----------
    name
        ``"teacher"`` or ``"student"``.
    images
        Length of the stage, in images.
    batch_size
        Images in a step.
    evaluate_every
        Images between calls of ``evaluate``; None for one at the end.
    """

    name: str
    images: int
    batch_size: int
    evaluate_every: int | None

    @abstractmethod
    def step(self, batch: Measurement, images: int, generator: torch.Generator) -> dict[str, float]:
        """Take one optimisation step after ``images`` images; return figures for the log.

        All randomness comes from ``generator``, which the loop derives from the count of images.
        """

    @abstractmethod
    def networks(self) -> Mapping[str, nn.Module]:
        """Return the networks whose weights a checkpoint holds, by file name."""

    @abstractmethod
    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the optimisers whose state a checkpoint holds."""

    @abstractmethod
    def evaluate(self, images: int) -> tuple[dict[str, float], torch.Tensor]:
        """Measure the stage without clean data.

        Returns
        -------
        Figures for the log, and the samples behind them in channels, ``(n, channels, y, x)``, always of the same noise.
        """

    @abstractmethod
    def extra_state(self) -> dict[str, float | int | None]:
        """Return further plain numbers that a resumed stage needs."""

    @abstractmethod
    def load_extra_state(self, state: Mapping[str, float | int | None]) -> None:
        """Take back what ``extra_state`` returned."""


def build_optimiser(module: nn.Module, settings: OptimiserSettings) -> torch.optim.Adam:
    """Build Adam over the parameters of ``module``."""
    return torch.optim.Adam(
        module.parameters(), lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True
    )


def take_step(
    module: nn.Module, optimiser: torch.optim.Optimizer, settings: OptimiserSettings, images: int, total: int
) -> tuple[float, bool]:
    """Clip, set the learning rate and step, unless a gradient is not finite.

    Returns
    -------
    The gradient norm before clipping, and whether the step was taken.
    """
    limit = settings.max_gradient_norm or float("inf")
    norm = float(nn.utils.clip_grad_norm_(module.parameters(), limit, foreach=True))
    finite = norm == norm and norm != float("inf")
    if finite:
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(images, total)
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return norm, finite
