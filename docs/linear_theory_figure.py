"""Draw what the linear model predicts, and what SiD does, to images/linear_theory.png.

python docs/linear_theory_figure.py

Lines are the closed forms of `rsd_med.students.linear_theory`; points are students that were trained, from a random
start, on the exact scores: by the package's SiD, or for the noisy score, whose optimum SiD's weight biases, by
minimising the Fisher divergence.
"""

from pathlib import Path

import matplotlib as mpl
import torch
from torch import Tensor

from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.schedules import karras_fraction
from rsd_med.diffusion.view import View
from rsd_med.students.linear_theory import (
    ExactDenoiser,
    Teacher,
    distance_to_clean,
    fisher_divergence,
    fisher_gradient,
    noisy_distance,
    optimal_gain,
    optimum_through,
    precision,
    student_distance,
    subspace_angle,
)
from rsd_med.students.sid import SiDSettings

mpl.use("Agg")
import matplotlib.pyplot as plt

DIMENSION, RANK, LEVEL = 12, 3, 1.0
POINTS = (0.1, 0.3, 0.5, 0.7, 1.0)
SIGMAS = torch.linspace(0.02, 1.1, 60).tolist()
TEACHERS: dict[Teacher, str] = {"noisy": "#a8500a", "ambient": "#1d6b39", "clean mean": "#1a5fa8"}
STEPS, BATCH, RATE = 300, 128, 0.03


def main() -> None:
    """Train, draw and save."""
    start = generator_for(0, "basis")
    basis = torch.linalg.qr(torch.randn(DIMENSION, RANK, generator=start, dtype=torch.float64))[0]
    identity = torch.eye(DIMENSION, dtype=torch.float64)
    blur = circular_blur()
    figure, (angles, distances, blurred) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    trained: dict[str, list[Tensor]] = {}
    for teacher in TEACHERS:
        train = by_fisher if teacher == "noisy" else by_sid
        trained[teacher] = [train(precision(teacher, basis, sigma, LEVEL), LEVEL, identity) for sigma in POINTS]
    trained["blur"] = [
        by_fisher(precision("noisy", basis, sigma, LEVEL / 2, blur), LEVEL / 2, blur) for sigma in POINTS
    ]
    draw_angles(angles, trained, basis, blur)
    draw_denoising(distances, trained, basis)
    draw_blur(blurred, trained["blur"], basis, blur)
    for axes in (angles, distances, blurred):
        axes.set_xlabel("σ of the data")
        axes.legend(fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).parent / "images" / "linear_theory.png", dpi=110)


def draw_angles(axes: plt.Axes, trained: dict[str, list[Tensor]], basis: Tensor, blur: Tensor) -> None:
    """Draw the largest angle to the clean subspace."""
    axes.axhline(subspace_angle(blur @ basis, basis), color="0.4", ls="--", label="blurred data, closed form")
    axes.axhline(0, color="k", lw=1, label="every student, closed form")
    for name, students in trained.items():
        colour = TEACHERS.get(name, "#7a1fa2")  # type: ignore[call-overload]
        label = "blur, noisy score" if name == "blur" else f"{name}, trained"
        axes.plot(
            POINTS, [subspace_angle(student, basis) for student in students], "o", color=colour, ms=4, label=label
        )
    axes.set_ylabel("angle to the clean subspace (degrees)")
    axes.set_title("Which subspace is learnt")


def draw_denoising(axes: plt.Axes, trained: dict[str, list[Tensor]], basis: Tensor) -> None:
    """Draw distances to the clean law for plain noise."""
    noisy = [noisy_distance(sigma, DIMENSION, RANK) for sigma in SIGMAS]
    axes.semilogy(SIGMAS, noisy, color="0.4", ls="--", label="noisy data")
    for teacher, colour in TEACHERS.items():
        students = [distance_to_clean(student @ student.T, basis) for student in trained[teacher]]
        axes.semilogy(POINTS, [max(d, 1e-9) for d in students], "o", color=colour, ms=4)
        closed = [student_distance(optimal_gain(teacher, sigma, LEVEL), RANK) for sigma in SIGMAS]
        label = f"student of {teacher}" + (" (closed form: 0)" if teacher == "ambient" else "")
        axes.semilogy(SIGMAS, [d if d > 0 else float("nan") for d in closed], color=colour, label=label)
    axes.set_ylim(1e-9, 30)
    axes.set_ylabel("W₂² to the clean law")
    axes.set_title(f"Noise alone, σ_t = {LEVEL:g}")


def draw_blur(axes: plt.Axes, students: list[Tensor], basis: Tensor, blur: Tensor) -> None:
    """Draw distances to the clean law for noise behind a blur."""
    identity = torch.eye(DIMENSION, dtype=torch.float64)
    data = [distance_to_clean(blur @ basis @ basis.T @ blur.T + sigma**2 * identity, basis) for sigma in SIGMAS]
    axes.semilogy(SIGMAS, data, color="0.4", ls="--", label="blurred, noisy data")
    closed = [distance_to_clean(optimum_through(blur, basis, sigma), basis) for sigma in SIGMAS]
    axes.semilogy(SIGMAS, closed, color="#7a1fa2", label="student of the noisy score")
    found = [distance_to_clean(student @ student.T, basis) for student in students]
    axes.semilogy(POINTS, found, "o", color="#7a1fa2", ms=4)
    axes.set_ylabel("W₂² to the clean law")
    axes.set_title(f"Behind a blur of condition 11, σ_t = {LEVEL / 2:g}")


def circular_blur() -> Tensor:
    """Return a circulant blur of three taps and condition number 11."""
    side = (1 - 1 / 11) / 4
    identity = torch.eye(DIMENSION, dtype=torch.float64)
    return (1 - 2 * side) * identity + side * (identity.roll(1, 0) + identity.roll(-1, 0))


def random_start() -> Tensor:
    """Return a student that knows nothing."""
    return 0.35 * torch.randn(DIMENSION, RANK, generator=generator_for(0, "start"), dtype=torch.float64)


def by_fisher(score_precision: Tensor, level: float, operator: Tensor) -> Tensor:
    """Minimise the Fisher divergence with its analytic gradient."""
    student = random_start().requires_grad_()
    optimiser = torch.optim.LBFGS([student], max_iter=600, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        with torch.no_grad():
            student.grad = fisher_gradient(student, score_precision, level, operator)
            return fisher_divergence(student, score_precision, level, operator)

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return student.detach()


def by_sid(score_precision: Tensor, level: float, operator: Tensor) -> Tensor:
    """Train with the package's SiD at one level, against the exact fake score of the present student."""
    student = random_start().requires_grad_()
    optimiser = torch.optim.Adam([student], lr=RATE, betas=(0.0, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    place, source = karras_fraction(level), generator_for(0, "noise")
    loss = SiDSettings(alpha=1.0, t_min=place, t_max=place + 1e-7).build()
    teacher = ExactDenoiser(score_precision, level)
    identity = torch.eye(len(operator), dtype=torch.float64)
    for _ in range(STEPS):
        seen = (operator @ student).detach()
        fake = ExactDenoiser(torch.linalg.inv(seen @ seen.T + level**2 * identity), level)
        generated = torch.randn(BATCH, RANK, generator=source) @ (operator @ student).float().T
        optimiser.zero_grad()
        loss(generated[:, None, None], View(), teacher, fake, 0.0, source).mean().backward()  # type: ignore[arg-type]
        optimiser.step()
        schedule.step()
    return student.detach()


if __name__ == "__main__":
    main()
