"""What coil maps say of the operators that are made of them."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def coil_power(maps: Complex[Tensor, "*b coil y x"]) -> Float[Tensor, "*b 1 y x"]:
    """Return Σ_c |S_c|², real ``(*batch, 1, y, x)``, of maps ``(*batch, coil, y, x)``."""
    return torch.view_as_real(maps.resolve_conj()).square().sum(-1).sum(-3, keepdim=True)


def largest(values: Tensor, image: Tensor) -> Tensor:
    """Return the largest of each item's values, ``(b,)``, for a batch of images."""
    return values.amax((-3, -2, -1)).reshape(-1).expand(len(image))
