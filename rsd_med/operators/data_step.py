"""The image nearest to a guess that explains the data, as a step that networks learn through."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rsd_med.operators.conjugate_gradient import conjugate_gradient
from rsd_med.operators.linear import LinearOperator

ITERATIONS = 16
"""Of conjugate gradients for the image: where there is little noise, w is small, and much is to be undone."""

BACKWARD_ITERATIONS = 6
"""Of those for gradients, which need not be as exact."""


def data_step(
    guess: Tensor,
    weight: Tensor,
    operator: LinearOperator,
    adjoint: Tensor,
    iterations: int = ITERATIONS,
    backward_iterations: int = BACKWARD_ITERATIONS,
) -> Tensor:
    """Return ``argmin_x ‖A x − y‖² + Σ_p w_p |x_p − guess_p|²``, which is ``(A^H A + w)⁻¹ (A^H y + w guess)``.

    Gradients reach the guess and the weight. The system is solved once more for them (implicit differentiation): with
    ``v = (A^H A + w)⁻¹ g`` for the gradient g of the result, that of the guess is ``w v`` and that of the weight
    ``Re(v̄ (guess − x))``. So a pass holds two images, however many iterations it takes. The solver is the data
    consistency of MoDL (Aggarwal et al., IEEE Trans. Med. Imaging 38, 2019), whose gradient is computed so, too; here
    each pixel may have a weight of its own.

    Parameters
    ----------
    guess
        ``(b, 1, y, x)`` complex64.
    weight
        w of each item ``(b, 1, 1, 1)`` or pixel ``(b, 1, y, x)``, float32, positive.
    operator
        A, with b items.
    adjoint
        ``A^H y``, ``(b, 1, y, x)`` complex64; no gradient reaches it.
    iterations
        Of conjugate gradients.
    backward_iterations
        Of those for gradients.

    Returns
    -------
    Tensor
        ``(b, 1, y, x)`` complex64.
    """
    image: Tensor = _DataStep.apply(guess, weight, operator, adjoint, iterations, backward_iterations)
    return image


def preconditioned(weight: Tensor, diagonal: Tensor) -> Tensor:
    """Return d, by which ``d (A^H A + w) d`` has ones on its diagonal: then few iterations do for unlike weights.

    Parameters
    ----------
    weight
        w, see `data_step`.
    diagonal
        Of ``A^H A``, to be broadcast with it.

    Returns
    -------
    Tensor
        Real, as large as the two broadcast.
    """
    return (diagonal + weight).rsqrt()


def _solved(right: Tensor, weight: Tensor, operator: LinearOperator, iterations: int, start: Tensor | None) -> Tensor:
    """Return ``(A^H A + w)⁻¹ right``."""
    scale = preconditioned(weight, operator.normal_diagonal(right))

    def system(v: Tensor) -> Tensor:
        image = scale * v
        return scale * (operator.normal(image) + weight * image)

    first = None if start is None else start / scale
    return scale * conjugate_gradient(system, scale * right, iterations, start=first)


class _DataStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        guess: Tensor,
        weight: Tensor,
        operator: LinearOperator,
        adjoint: Tensor,
        iterations: int,
        backward_iterations: int,
    ) -> Tensor:
        image = _solved(adjoint + weight * guess, weight, operator, iterations, guess)
        ctx.save_for_backward(guess, weight, image)
        ctx.operator, ctx.iterations = operator, backward_iterations
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        guess, weight, image = ctx.saved_tensors
        solved = _solved(gradient, weight, ctx.operator, ctx.iterations, None)
        of_weight = (solved.conj() * (guess - image)).real.sum_to_size(weight.shape)
        return weight * solved, of_weight, None, None, None, None
