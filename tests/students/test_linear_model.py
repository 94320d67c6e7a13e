"""The linear model: a low-rank Gaussian world in which every optimum of distillation is known.

The closed forms are those of `rsd_med.students.linear_theory`; here they are held against numerical minimisation and
against the package's own SiD.

How the package's SiD relates to L. With exact denoisers D(x) = x + s · score, the fake's parameters held (as in
training) and ω left out, its expected gradient in U is

    2 s² [(1 − α)(P − Q)² + ½ ((P − Q) Q + Q (P − Q))] U,

which at α = ½ is s² (P² − Q²) U = ½ s² ∇L: there SiD descends the Fisher objective itself. For every α it vanishes
where P = Q on the student's law, and there it vanishes for each sample, ω or not: teachers (ii) and (iii) are reached
exactly with the loss as it is. For (i) P − Q stays different from 0 outside the span, sample gradients do not vanish,
and ω, which is a function of the same noise, may bias them; so (i) is held at ω = 1.
"""

import math

import pytest
import torch
from torch import Tensor

from rsd_med.diffusion.schedules import karras_fraction
from rsd_med.diffusion.view import View
from rsd_med.operators import LinearOperator
from rsd_med.students import linear_theory
from rsd_med.students.linear_theory import (
    ExactDenoiser,
    Teacher,
    distance_to_clean,
    fisher_divergence,
    fisher_gradient,
    noisy_distance,
    optimal_gain,
    optimum_through,
    residual,
    student_distance,
    subspace_angle,
    threshold,
)
from rsd_med.students.sid import SiDSettings
from tests.diffusion.gaussian import generator

D, R = 12, 3
SIGMAS = [0.2, 0.5, 1.0]
LEVELS = [0.5, 1.0]
EYE = torch.eye(D, dtype=torch.float64)


TEACHERS: dict[str, Teacher] = {"i": "noisy", "ii": "ambient", "iii": "clean mean"}


def orthonormal(seed: int = 0) -> Tensor:
    return torch.linalg.qr(torch.randn(D, R, generator=generator(seed), dtype=torch.float64))[0]


E = orthonormal()


def random_start(seed: int = 1, size: float = 0.6) -> Tensor:
    return size * torch.randn(D, R, generator=generator(seed), dtype=torch.float64) / math.sqrt(D) * 2


def precision(case: str, sigma: float, s: float) -> Tensor:
    return linear_theory.precision(TEACHERS[case], E, sigma, math.sqrt(s))


def closed_form(case: str, sigma: float, s: float) -> float:
    return optimal_gain(TEACHERS[case], sigma, math.sqrt(s))


def descend(P: Tensor, s: float, A: Tensor = EYE, seed: int = 1) -> Tensor:
    """Minimise the Fisher objective with its analytic gradient 2 Aᵀ (P² − Q²) A U."""
    U = random_start(seed).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [U], max_iter=600, max_eval=2000, history_size=40, tolerance_grad=1e-13, tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        with torch.no_grad():
            U.grad = fisher_gradient(U, P, math.sqrt(s), A)
            return fisher_divergence(U, P, math.sqrt(s), A)

    optimiser.step(closure)
    return U.detach()


def angle(U: Tensor) -> float:
    return subspace_angle(U, E)


def eigenvalues(U: Tensor) -> Tensor:
    return torch.linalg.eigvalsh((U.T @ U).double())


def clean_distance(covariance: Tensor) -> float:
    return distance_to_clean(covariance, E)


# --- the theory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["i", "ii", "iii"])
def test_the_analytic_gradient_is_that_of_the_objective(case):
    U = random_start(3).requires_grad_()
    P, s = precision(case, 0.5, 0.64), 0.64
    (gradient,) = torch.autograd.grad(fisher_divergence(U, P, math.sqrt(s), A), U)
    assert torch.allclose(gradient, fisher_gradient(U, P, math.sqrt(s), A).detach(), atol=1e-10)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("case", ["i", "ii", "iii"])
def test_the_optimum_is_the_clean_eigenspace(case, sigma, level):
    s = level**2
    P = precision(case, sigma, s)
    U = descend(P, s)
    assert angle(U) < 0.1
    assert eigenvalues(U).tolist() == pytest.approx([closed_form(case, sigma, s)] * R, abs=1e-3)
    found = float(fisher_divergence(U, P, level, EYE))
    assert found == pytest.approx(residual(TEACHERS[case], sigma, level, D, R), abs=1e-6)


def test_the_reference_values_of_lambda():
    assert [closed_form("i", sigma, 1) for sigma in SIGMAS] == pytest.approx([1.04, 1.25, 2.0])
    found = [[round(closed_form("iii", sigma, level**2), 4) for sigma in SIGMAS] for level in LEVELS]
    assert found == [[0.8621, 0.5, 0.2], [0.9615, 0.8, 0.5]]


@pytest.mark.parametrize(("case", "expected"), [("i", 0.0418), ("ii", 0.0), ("iii", 0.0334)])
def test_students_are_closer_to_the_clean_law_than_the_noisy_law_is(case, expected):
    sigma, s = 0.5, 1.0
    U = descend(precision(case, sigma, s), s)
    noisy = clean_distance(E @ E.T + sigma**2 * EYE)
    assert noisy == pytest.approx(2.292, abs=1e-3)
    assert clean_distance(U @ U.T) == pytest.approx(expected, abs=2e-4)
    assert noisy == pytest.approx(noisy_distance(sigma, D, R), abs=1e-6)
    assert student_distance(closed_form(case, sigma, s), R) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(("sigma", "expected"), [(0.2, 0.980), (0.5, 0.875), (1.0, 0.522)])
def test_reading_the_clean_mean_at_the_wrong_level_pays_above_a_threshold(sigma, expected):
    """Case (iii) shrinks less than case (i) grows from the σ_t² on at which (1 − √λ)² = (√(1 + σ²) − 1)²."""
    exact = threshold(sigma)
    assert exact == pytest.approx(expected, abs=1e-3)

    def errors(s):
        return [(math.sqrt(closed_form(case, sigma, s)) - 1) ** 2 for case in ("iii", "i")]

    shrunk, grown = errors(exact)
    assert shrunk == pytest.approx(grown, rel=1e-9)
    assert errors(1.05 * exact)[0] < grown < errors(0.95 * exact)[0]


# --- a blur ---------------------------------------------------------------------------------------------------------


class CircularBlur(LinearOperator):
    """A circulant blur of images ``(b, 1, 3, 4)``, read as 12 numbers in a ring: condition number 11."""

    SIDE = (1 - 1 / 11) / 4

    def __init__(self) -> None:
        rows = torch.arange(D)
        self.matrix = torch.zeros(D, D, dtype=torch.float64)
        for offset, value in ((0, 1 - 2 * self.SIDE), (1, self.SIDE), (-1, self.SIDE)):
            self.matrix[rows, (rows + offset) % D] = value

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix.T.to(x)).reshape(x.shape)

    def adjoint(self, y: Tensor) -> Tensor:
        return (y.flatten(1) @ self.matrix.to(y)).reshape(y.shape)


A = CircularBlur().matrix


def test_a_blur_is_undone_without_noise():
    assert float(torch.linalg.cond(A)) == pytest.approx(11, rel=1e-6)
    s = 0.25
    U = descend(torch.linalg.inv(A @ E @ E.T @ A.T + s * EYE), s, A)
    assert angle(U) < 0.1
    assert torch.allclose(U @ U.T, E @ E.T, atol=1e-3)
    assert torch.allclose(optimum_through(A, E, 0.0), E @ E.T, atol=1e-12)
    assert clean_distance(U @ U.T) < 1e-5
    assert clean_distance(A @ E @ E.T @ A.T) > 0.1


def test_a_blur_under_noise_gives_the_top_part_of_the_noisy_covariance():
    """A U Uᵀ Aᵀ is the leading rank-r part of A E Eᵀ Aᵀ + σ² I: the span is still the clean one."""
    s, sigma = 0.25, 0.2
    noisy = A @ E @ E.T @ A.T + sigma**2 * EYE
    U = descend(torch.linalg.inv(noisy + s * EYE), s, A)
    values, vectors = torch.linalg.eigh(noisy)
    leading = (vectors[:, -R:] * values[-R:]) @ vectors[:, -R:].T
    assert torch.allclose(A @ U @ U.T @ A.T, leading, atol=1e-3)
    closed = optimum_through(A, E, sigma)
    assert torch.allclose(A @ closed @ A.T, leading, atol=1e-10)
    assert torch.allclose(U @ U.T, closed, atol=1e-2)
    assert angle(U) < 0.1
    assert clean_distance(U @ U.T) < 0.2 * clean_distance(noisy)


def test_an_operator_need_not_be_invertible():
    """Five numbers of twelve determine three: the span is found, and each direction grows by what its noise adds."""
    five = torch.randn(5, D, generator=generator(11), dtype=torch.float64)
    s, sigma = 0.25, 0.3
    U = descend(linear_theory.precision("noisy", E, sigma, math.sqrt(s), five), s, five)
    closed = optimum_through(five, E, sigma)
    assert torch.allclose(five @ U @ U.T @ five.T, five @ closed @ five.T, atol=1e-3)
    assert angle(torch.linalg.eigh(closed).eigenvectors[:, -R:]) < 1e-6
    gains = torch.linalg.eigvalsh(closed)[-R:]
    sizes = torch.linalg.svdvals(five @ E)
    assert torch.allclose(gains, (1 + sigma**2 / sizes**2).sort().values)


# --- the package's loss ---------------------------------------------------------------------------------------------


def sid_loss(U, P, s, alpha, count, source, weighted=True, operator=None):
    """SiD as the package computes it, at the one level √s, with the exact fake score of the present student."""
    place = karras_fraction(math.sqrt(s))
    loss = SiDSettings(alpha=alpha, t_min=place, t_max=place + 1e-7).build()
    z = torch.randn(count, R, generator=source)
    observed = (z @ U.float().T).reshape(count, 1, 3, 4)
    blur = EYE if operator is None else operator.matrix
    if operator is not None:
        observed = operator(observed)
    law = blur @ U.detach() @ U.detach().T @ blur.T
    level = math.sqrt(s)
    teacher, fake = ExactDenoiser(P, level), ExactDenoiser(torch.linalg.inv(law + s * EYE), level)
    values = loss(observed, View(), teacher, fake, 0.0, source)
    if weighted:
        return values.mean()
    undone = (observed - teacher.answer).abs().flatten(1).mean(1).clamp_min(1e-5).detach()
    return (values * undone).mean()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.2])
@pytest.mark.parametrize("case", ["i", "ii", "iii"])
def test_the_expected_gradient_is_the_derived_one(case, alpha):
    s, sigma = 0.64, 0.5
    P, U = precision(case, sigma, s), random_start(4, size=1.0).requires_grad_()
    loss = sid_loss(U, P, s, alpha, 150_000, generator(5), weighted=False)
    (found,) = torch.autograd.grad(loss, U)
    with torch.no_grad():
        Q = torch.linalg.inv(U @ U.T + s * EYE)
        gap = P - Q
        expected = 2 * s**2 * ((1 - alpha) * gap @ gap + (gap @ Q + Q @ gap) / 2) @ U
        if alpha == 0.5:
            assert torch.allclose(expected, s**2 * (P @ P - Q @ Q) @ U, atol=1e-12)
    assert float((found - expected).norm() / expected.norm()) < 0.03


def distil(P, s, alpha, operator=None, steps=400, rate=0.03):
    """Train U with the package's loss, ω included."""
    U = random_start(6).requires_grad_()
    optimiser = torch.optim.Adam([U], lr=rate, betas=(0.0, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    source = generator(7)
    for _ in range(steps):
        optimiser.zero_grad()
        sid_loss(U, P, s, alpha, 128, source, operator=operator).backward()
        optimiser.step()
        schedule.step()
    return U.detach()


@pytest.mark.parametrize(
    ("case", "sigma", "level", "alpha"),
    [
        ("ii", 0.5, 1.0, 0.5),
        ("ii", 0.5, 0.5, 1.0),
        ("ii", 0.5, 0.5, 1.2),
        ("iii", 0.5, 1.0, 0.5),
        ("iii", 1.0, 0.5, 1.0),
    ],
)
def test_sid_recovers_the_clean_eigenspace(case, sigma, level, alpha):
    s = level**2
    U = distil(precision(case, sigma, s), s, alpha)
    assert angle(U) < 0.1
    assert eigenvalues(U).tolist() == pytest.approx([closed_form(case, sigma, s)] * R, abs=1e-3)


def test_sid_undoes_a_blur():
    s, operator = 0.25, CircularBlur()
    U = distil(torch.linalg.inv(A @ E @ E.T @ A.T + s * EYE), s, 0.5, operator, steps=1000)
    assert angle(U) < 0.1
    assert clean_distance(U @ U.T) < 1e-5


def test_sid_stands_still_at_the_optimum_of_the_noisy_teacher():
    """Case (i): with ω = 1 the expected gradient vanishes at λ = 1 + σ² and nowhere near it."""
    s, sigma = 1.0, 0.5
    P, rotation = precision("i", sigma, s), torch.linalg.qr(random_start(8)[:R])[0]

    def gradient(scale):
        U = (math.sqrt(scale * closed_form("i", sigma, s)) * E @ rotation).requires_grad_()
        return torch.autograd.grad(sid_loss(U, P, s, 0.5, 150_000, generator(9), weighted=False), U)[0]

    still, pushed, pulled = gradient(1.0), gradient(0.8), gradient(1.25)
    U = E @ rotation
    assert still.norm() < 0.1 * min(pushed.norm(), pulled.norm())
    assert (pushed * U).sum() < 0 < (pulled * U).sum()
