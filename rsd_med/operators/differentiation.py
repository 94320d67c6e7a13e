"""How autograd differentiates a linear operator: by its adjoint."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor


class _Linear(Protocol):
    """What is asked of an operator; `rsd_med.operators.linear.LinearOperator` describes it."""

    @property
    def H(self) -> Callable[[Tensor], Tensor]:  # noqa: N802
        """The adjoint."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute A x."""

    def __call__(self, x: Tensor) -> Tensor:
        """Compute A x, differentiably."""


class TracedApply(torch.autograd.Function):
    """Apply an operator so that autograd uses its adjoint.

    Backward calls the adjoint through ``__call__`` again, so it can itself be differentiated, any number of times.
    """

    @staticmethod
    def forward(x: Tensor, operator: _Linear) -> Tensor:
        """Compute A x."""
        return operator.forward(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, _Linear], output: Tensor) -> None:
        """Keep the operator."""
        ctx.operator = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Apply the adjoint."""
        return ctx.operator.H(gradients[0]), None


class Apply(TracedApply):
    """The same with the forward-mode derivative, which is the map itself: torch's tracer refuses functions with one."""

    generate_vmap_rule = True

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        """Apply the operator."""
        return ctx.operator(tangents[0])
