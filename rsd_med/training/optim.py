"""Adam, and one step of it: clipped, at the rate of the moment, and left out where a gradient is not finite."""

import math

import torch
from torch import nn

from rsd_med.training.settings import OptimiserSettings


def build_optimiser(module: nn.Module, settings: OptimiserSettings) -> torch.optim.Adam:
    """Build Adam over the parameters of ``module``."""
    optimiser = torch.optim.Adam(
        module.parameters(), lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True
    )
    optimiser.register_load_state_dict_post_hook(_lay_out_as_parameters)
    return optimiser


def take_step(
    module: nn.Module, optimiser: torch.optim.Optimizer, settings: OptimiserSettings, images: int, total: int
) -> tuple[float, bool]:
    """Clip, set the learning rate and step, unless a gradient is not finite.

    Returns
    -------
    tuple[float, bool]
        The gradient norm before clipping, and whether the step was taken. Where ranks share a batch, average the
        gradients first: then both are the same on all of them.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    # What clip_grad_norm_ computes, without its search through the modules and the sorting by device and type.
    total_norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if settings.max_gradient_norm is not None:
        scale = (settings.max_gradient_norm / (total_norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale)
    norm = float(total_norm)
    finite = math.isfinite(norm)
    if finite:
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(images, total)
        optimiser.step()
    for parameter in parameters:
        parameter.grad = None
    return norm, finite


def _lay_out_as_parameters(optimiser: torch.optim.Optimizer) -> None:
    """Lay a loaded state out in memory as its parameters are: the fused kernel goes through both in the same order."""
    for parameter, state in optimiser.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter).copy_(value)
