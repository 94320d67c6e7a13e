"""One step of an optimiser: clipped, at the rate of the moment, and left out where a gradient is not finite."""

import math
from abc import abstractmethod
from typing import Literal

import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor, nn

from rsd_med.base.settings import KindSettings


class OptimiserSettings(KindSettings):
    """How the weights of a network move: at a rate that depends on the images seen."""

    learning_rate: float = Field(2e-4, gt=0, description="peak learning rate")
    warmup_images: NonNegativeInt = Field(0, description="images of linear ramp-up")
    decay: Literal["constant", "cosine"] = Field("constant", description="after the ramp, to the end of the stage")
    max_gradient_norm: float | None = Field(
        1.0, gt=0, description="gradients are scaled down to this norm; null: never"
    )

    @abstractmethod
    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Build the optimiser of all parameters of ``module``.

        A group of parameters may have a ``rate_share``: its rate is that share of the rate of the moment.
        """

    def rate(self, images: int, total: int) -> float:
        """Return the learning rate after ``images`` of ``total`` images."""
        rate = self.learning_rate
        if self.warmup_images:
            rate *= min(1.0, images / self.warmup_images)
        if self.decay == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, images / total)))
        return rate


def take_step(
    module: nn.Module, optimiser: torch.optim.Optimizer, settings: OptimiserSettings, images: int, total: int
) -> tuple[Tensor, Tensor]:
    """Clip, set the learning rate and step, unless a gradient is not finite.

    Nothing waits for a GPU: whether the step is taken is decided where the gradients are.

    Returns
    -------
    tuple[Tensor, Tensor]
        Two numbers on the device: the gradient norm before clipping, and 1 where the step was left out, else 0. Where
        ranks share a batch, average the gradients first: then both are the same on all of them.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    # What clip_grad_norm_ computes, without its search through the modules and the sorting by device and type.
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if settings.max_gradient_norm is not None:
        scale = (settings.max_gradient_norm / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale)
    skipped = 1 - norm.isfinite().to(torch.float32)
    for group in optimiser.param_groups:
        group["lr"] = settings.rate(images, total) * group.get("rate_share", 1.0)
    if getattr(optimiser, "_step_supports_amp_scaling", False):
        # As torch's GradScaler tells fused kernels: they read this number themselves, and change nothing where it is 1.
        optimiser.grad_scale, optimiser.found_inf = None, skipped  # type: ignore[attr-defined]
        optimiser.step()
    else:
        _step_unless(skipped, optimiser)
    for parameter in parameters:
        parameter.grad = None
    return norm, skipped


def _step_unless(skipped: Tensor, optimiser: torch.optim.Optimizer) -> None:
    """Step, and take back what it did to weights and moments where it was to be left out."""
    with torch.no_grad():
        before = {id(tensor): tensor.clone() for tensor in _moved(optimiser)}
        optimiser.step()
        for tensor in _moved(optimiser):
            old = before.get(id(tensor))  # a moment that this step made was zero
            tensor.copy_(torch.where(skipped > 0, torch.zeros_like(tensor) if old is None else old, tensor))


def _moved(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    moments = [value for state in optimiser.state.values() for value in state.values() if isinstance(value, Tensor)]
    return [*parameters, *moments]
