"""The linear model of distillation, in closed form: what a student learns that a teacher of noisy data teaches.

x ~ N(0, E E^T) with E of d x r and E^T E = I; y = A x + σ ε; a student x_g = U z, z ~ N(0, I_r); one diffusion level
σ_t, s = σ_t^2. The diffused, observed student has the covariance Σ = A U U^T A^T + s I with Q = Σ^-1; the score of the
teacher is -P x. Distillation by the Fisher divergence under the student's law minimises

    L(U) = tr[(P - Q)^2 Σ],        with ∇L = 2 A^T (P^2 - Q^2) A U.

Three teachers are worth telling apart; `docs/theory.md` derives what each teaches.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from rsd_med.metrics.frechet import gaussian_distance

Teacher = Literal["noisy", "ambient", "clean mean"]
"""The exact score of the noisy data; that of the clean data at total noise σ_t, which Ambient Tweedie estimates; and
the mean of x given x + σ ε + σ_t n, read as if it were a denoiser at level σ_t."""


def optimal_gain(teacher: Teacher, sigma: float, level: float) -> float:
    """Return λ of the optimum U U^T = λ E E^T for A = I.

    Parameters
    ----------
    teacher
        Which one.
    sigma
        σ of the data.
    level
        σ_t at which student and teacher are compared.
    """
    if teacher == "noisy":
        return 1 + sigma**2
    return 1.0 if teacher == "ambient" else level**2 / (level**2 + sigma**2)


def residual(teacher: Teacher, sigma: float, level: float, dimension: int, rank: int) -> float:
    """Return L at the optimum for A = I: above 0 only where the student cannot have the noise of the teacher's data."""
    if teacher != "noisy":
        return 0.0
    s = level**2
    return (dimension - rank) * sigma**4 / ((sigma**2 + s) ** 2 * s)


def student_distance(gain: float, rank: int) -> float:
    """Return the squared 2-Wasserstein distance of N(0, λ E E^T) to the clean law: r (√λ - 1)^2."""
    return rank * (math.sqrt(gain) - 1) ** 2


def noisy_distance(sigma: float, dimension: int, rank: int) -> float:
    """Return that of the noisy law N(0, E E^T + σ^2 I): r (√(1 + σ^2) - 1)^2 + (d - r) σ^2."""
    return student_distance(1 + sigma**2, rank) + (dimension - rank) * sigma**2


def threshold(sigma: float) -> float:
    """Return the σ_t^2 from which on the clean mean, misread, errs less than the noisy score.

    With a = √(1 + σ^2), (1 - √λ)^2 = (a - 1)^2 at √λ = 2 - a; then σ_t^2 = (2 - a)^2 σ^2 / (1 - (2 - a)^2), for
    σ < √3.
    """
    shrunk = 2 - math.sqrt(1 + sigma**2)
    return shrunk**2 * sigma**2 / (1 - shrunk**2)


def optimum_through(operator: Tensor, basis: Tensor, sigma: float) -> Tensor:
    """Return U U^T = E [I + σ^2 (E^T A^T A E)^-1] E^T, the optimum for the exact score of y = A x + σ ε.

    Parameters
    ----------
    operator
        A, float64 ``(m, d)``, injective on the span of E; it need not be invertible, nor square.
    basis
        E, ``(d, r)``, with orthonormal columns.
    sigma
        σ of the data; 0 gives E E^T exactly.

    Returns
    -------
    Tensor
        ``(d, d)``.
    """
    observed = operator @ basis
    gains = torch.eye(basis.shape[1], dtype=basis.dtype) + sigma**2 * torch.linalg.inv(observed.T @ observed)
    return basis @ gains @ basis.T


def precision(teacher: Teacher, basis: Tensor, sigma: float, level: float, operator: Tensor | None = None) -> Tensor:
    """Return P of the teacher's score -P x, ``(m, m)``.

    Parameters
    ----------
    teacher
        Which one; "clean mean" is defined for A = I alone.
    basis, sigma, level
        E, σ and σ_t.
    operator
        A, or None for the identity.
    """
    observed = basis if operator is None else operator @ basis
    identity = torch.eye(len(observed), dtype=basis.dtype)
    s = level**2
    if teacher == "clean mean":
        return (identity - observed @ observed.T / (1 + sigma**2 + s)) / s
    noise = sigma**2 if teacher == "noisy" else 0.0
    return torch.linalg.inv(observed @ observed.T + (noise + s) * identity)


def fisher_divergence(student: Tensor, teacher_precision: Tensor, level: float, operator: Tensor) -> Tensor:
    """Return L(U) = tr[(P - Q)^2 Σ]; see the module."""
    gap, total = _gap(student, teacher_precision, level, operator)
    return (gap @ gap @ total).trace()


def fisher_gradient(student: Tensor, teacher_precision: Tensor, level: float, operator: Tensor) -> Tensor:
    """Return ∇L = 2 A^T (P^2 - Q^2) A U, without autograd."""
    gap, _ = _gap(student, teacher_precision, level, operator)
    held = teacher_precision - gap
    return 2 * operator.T @ (teacher_precision @ teacher_precision - held @ held) @ operator @ student


def subspace_angle(student: Tensor, basis: Tensor) -> float:
    """Return the largest principal angle between two spans, in degrees; by its sine, which is exact near 0."""
    span = torch.linalg.qr(student.double())[0]
    outside = span - basis @ (basis.T @ span)
    return math.degrees(math.asin(min(1.0, float(torch.linalg.matrix_norm(outside, 2)))))


def distance_to_clean(covariance: Tensor, basis: Tensor) -> float:
    """Return the squared 2-Wasserstein distance of N(0, C) to N(0, E E^T)."""
    zero = torch.zeros(len(basis))
    return gaussian_distance(zero, covariance, zero, basis @ basis.T)


class ExactDenoiser:
    """The denoiser x - s P x of the score -P x, for images of m numbers in all; keeps its last answer.

    Parameters
    ----------
    score_precision
        P, ``(m, m)``.
    level
        σ_t, √s.
    """

    def __init__(self, score_precision: Tensor, level: float) -> None:
        identity = torch.eye(len(score_precision), dtype=score_precision.dtype)
        self.matrix = (identity - level**2 * score_precision).float()

    def __call__(self, x: Tensor, sigma: Tensor, context: Tensor | None = None) -> Tensor:
        """Denoise images ``(b, channels, y, x)``; at any other level than its own it is not exact."""
        self.answer = (x.flatten(1) @ self.matrix.T).reshape(x.shape)
        return self.answer


def _gap(student: Tensor, teacher_precision: Tensor, level: float, operator: Tensor) -> tuple[Tensor, Tensor]:
    observed = operator @ student
    total = observed @ observed.T + level**2 * torch.eye(len(observed), dtype=student.dtype)
    return teacher_precision - torch.linalg.inv(total), total
