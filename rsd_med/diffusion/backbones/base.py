"""What the networks share."""

import torch
from torch import nn
from torch.nn import functional


def reflected_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Reflect an image ``(b, c, y, x)`` at its lower and right edge until both sides are multiples of a number."""
    height, width = x.shape[-2:]
    pad_y, pad_x = -height % multiple, -width % multiple
    return functional.pad(x, (0, pad_x, 0, pad_y), mode="reflect") if pad_y or pad_x else x


def count_parameters(module: nn.Module) -> int:
    """Count the numbers in ``module`` that training may change or has changed."""
    return sum(parameter.numel() for parameter in module.parameters())
