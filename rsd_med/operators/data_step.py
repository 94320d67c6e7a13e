"""The image nearest to a guess that explains the data, as a step that networks learn through."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rsd_med.operators.conjugate_gradient import conjugate_gradient
from rsd_med.operators.linear import LinearOperator

ITERATIONS = 8
"""Of conjugate gradients, in either direction."""


def data_step(
    guess: Tensor, weight: Tensor, operator: LinearOperator, adjoint: Tensor, iterations: int = ITERATIONS
) -> Tensor:
    """Return ``argmin_x ‖A x − y‖² + w ‖x − guess‖²``, which is ``(A^H A + w)⁻¹ (A^H y + w guess)``.

    Gradients reach the guess and the weight. The system is solved once more for them (implicit differentiation): with
    ``v = (A^H A + w)⁻¹ g`` for the gradient g of the result, that of the guess is ``w v`` and that of the weight
    ``Re⟨v, guess − x⟩``. So a pass holds two images, however many iterations it takes. The solver is the data
    consistency of MoDL (Aggarwal et al., IEEE Trans. Med. Imaging 38, 2019), whose gradient is computed so, too.

    Parameters
    ----------
    guess
        ``(b, 1, y, x)`` complex64.
    weight
        w of each item, ``(b, 1, 1, 1)`` float32, positive.
    operator
        A, with b items.
    adjoint
        ``A^H y``, ``(b, 1, y, x)`` complex64; no gradient reaches it.
    iterations
        Of conjugate gradients, in either direction.

    Returns
    -------
    Tensor
        ``(b, 1, y, x)`` complex64.
    """
    image: Tensor = _DataStep.apply(guess, weight, operator, adjoint, iterations)
    return image


class _DataStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, guess: Tensor, weight: Tensor, operator: LinearOperator, adjoint: Tensor, iterations: int
    ) -> Tensor:
        image = conjugate_gradient(
            lambda v: operator.normal(v) + weight * v, adjoint + weight * guess, iterations, start=guess
        )
        ctx.save_for_backward(guess, weight, image)
        ctx.operator, ctx.iterations = operator, iterations
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        guess, weight, image = ctx.saved_tensors
        solved = conjugate_gradient(lambda v: ctx.operator.normal(v) + weight * v, gradient, ctx.iterations)
        of_weight = (solved.conj() * (guess - image)).real.sum((-3, -2, -1), keepdim=True)
        return weight * solved, of_weight, None, None, None
