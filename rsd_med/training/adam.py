"""Adam (arXiv 1412.6980)."""

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from rsd_med.training.optim import OptimiserSettings


class AdamSettings(OptimiserSettings):
    """Adam, the optimiser of the published experiments."""

    kind: Literal["adam"] = "adam"
    betas: tuple[float, float] = Field((0.9, 0.999), description="Adam's decay rates")
    epsilon: float = Field(1e-8, gt=0, description="Adam's ε")

    def build(self, module: nn.Module) -> torch.optim.Adam:
        """Build Adam over the parameters of ``module``."""
        optimiser = torch.optim.Adam(
            module.parameters(), lr=self.learning_rate, betas=self.betas, eps=self.epsilon, fused=True
        )
        optimiser.register_load_state_dict_post_hook(_lay_out_as_parameters)
        return optimiser


def _lay_out_as_parameters(optimiser: torch.optim.Optimizer) -> None:
    """Lay a loaded state out in memory as its parameters are: the fused kernel goes through both in the same order."""
    for parameter, state in optimiser.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter).copy_(value)
