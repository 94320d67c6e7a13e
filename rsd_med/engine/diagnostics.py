"""How a distillation is going, in figures at fixed noise, and when it counts as lost."""

import math
from collections.abc import Mapping

import torch
from pydantic import Field, PositiveInt

from rsd_med.base.randomness import generator_for
from rsd_med.base.settings import Settings
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.engine.monitor import corrupt_generation
from rsd_med.students.base import LevelRange, StudentLoss, per_item_weight
from rsd_med.teachers.base import Objective

ITEMS = 64
"""Generations, and measurements, behind the figures of a comparison: four network calls for each."""


@torch.no_grad()
def compare_scores(
    loss: StudentLoss,
    levels: LevelRange,
    objective: Objective,
    teacher: Denoiser,
    fake: Denoiser,
    images: torch.Tensor,
    measurements: Measurement,
    seed: int,
) -> dict[str, float]:
    """Compare teacher and fake score on generations, with the same latents, masks, levels and noise at every call.

    Parameters
    ----------
    loss, levels
        How, and where, the student loss asks both.
    objective
        What both were trained with.
    teacher, fake
        The networks.
    images
        Generations in channels, ``(n, channels, y, x)``; the first 64 are looked at.
    measurements
        Measurements of the same shape; the first 64 are looked at.
    seed
        The run's seed.

    Returns
    -------
    ``gap``, the mean over items of ``mean|a − b| / mean|y_θ − a|``: how far the two disagree, in units of what the
    teacher would change; 0 where the student has nothing more to learn. ``fixed_fake_loss``, the fake score's objective
    on corrupted generations, and ``fixed_teacher_loss``, the teacher's on the measurements at the same levels: a fake
    score that follows its generator is as good at its task as the teacher at its own.
    """
    items = min(ITEMS, len(images), len(measurements))
    like, device = measurements[:items], measurements.data.device
    images = images[:items].to(device)
    corruption = objective.corruption
    generator = generator_for(seed, "diagnostics/gap", device=device)
    operator = corruption.draw(like, generator)
    view = objective.view(operator, generator)
    observed = objective.observe(images, operator)
    a, b = loss.estimates(levels, observed, view, teacher, fake, corruption.sigma, generator)
    gap = view.mean((a - b).abs()) * per_item_weight(observed, a, view)
    corrupted = corrupt_generation(
        corruption, images, like, generator_for(seed, "diagnostics/corruption", device=device)
    )
    losses = [
        objective(network, measurement, generator_for(seed, "diagnostics/loss", device=device)).mean()
        for network, measurement in ((fake, corrupted), (teacher, like))
    ]
    return {
        "gap": float(gap.mean()), "fixed_fake_loss": float(losses[0]), "fixed_teacher_loss": float(losses[1])
    }  # fmt: skip


class WatchSettings(Settings):
    """When a distillation counts as lost; asked at every evaluation, so that ``evaluate_every`` must be set."""

    patience: PositiveInt = Field(3, description="evaluations in a row that one of the limits below must be passed")
    distance: float = Field(10, gt=1, description="proximal distance, in multiples of the smallest so far")
    fake_loss: float = Field(10, gt=1, description="fixed_fake_loss, in multiples of fixed_teacher_loss")
    diversity: float = Field(0.1, ge=0, lt=1, description="diversity, in shares of the largest so far, or of 1")


class Watch:
    """Reads the figures of one evaluation after the other, and says when a distillation is lost.

    Diverged: the proximal distance, or the fake score's loss beside the teacher's, is past its limit. Collapsed: the
    generations have stopped differing, although they did; a generator that starts from its teacher has little diversity
    and gains it, so that its beginning is no collapse. Diversity above that of the data counts as that of the data.
    """

    def __init__(self, settings: WatchSettings) -> None:
        self.settings = settings
        self.largest_diversity: float | None = None
        self.in_a_row = {"distance": 0, "fake_loss": 0, "diversity": 0}

    def read(self, figures: Mapping[str, float], images: int) -> str | None:
        """Return why the distillation must stop after ``images`` images: what, where, what to do; None to go on."""
        lost = [name for name, value in figures.items() if not math.isfinite(value)]
        if lost:
            return _sentence(f"{', '.join(lost)} of the generations are no longer finite numbers", images, True)
        found = self._passed(figures)
        for name in self.in_a_row:
            self.in_a_row[name] = self.in_a_row[name] + 1 if name in found else 0
        for name, what in found.items():
            if self.in_a_row[name] >= self.settings.patience:
                return _sentence(f"{what} in {self.in_a_row[name]} evaluations in a row", images, name != "diversity")
        return None

    def _passed(self, figures: Mapping[str, float]) -> dict[str, str]:
        """Return the limits that these figures pass, each in words; a collapse, which passes others too, is first."""
        found = {}
        limits = self.settings
        if "diversity" in figures:
            diversity, largest = figures["diversity"], self.largest_diversity
            self.largest_diversity = min(1.0, diversity if largest is None else max(largest, diversity))
            if diversity < limits.diversity * self.largest_diversity:
                found["diversity"] = (
                    f"the generations hardly differed (diversity {diversity:.2g} after {self.largest_diversity:.2g})"
                )
        distance, best = figures["proximal_fd"], figures["best_proximal_fd"]
        if distance > limits.distance * best:
            found["distance"] = f"the proximal distance ({distance:.3g}) was far from its best ({best:.3g})"
        if "fixed_fake_loss" in figures:
            fake, teacher = figures["fixed_fake_loss"], figures["fixed_teacher_loss"]
            if fake > limits.fake_loss * teacher:
                found["fake_loss"] = f"the fake score's loss ({fake:.3g}) was far above the teacher's ({teacher:.3g})"
        return found

    def state(self) -> dict[str, float | int | None]:
        """Return what a resumed run needs."""
        return {"largest_diversity": self.largest_diversity} | {f"{name}_limit": n for name, n in self.in_a_row.items()}

    def load_state(self, state: Mapping[str, float | int | None]) -> None:
        """Take back what ``state`` returned."""
        self.largest_diversity = state["largest_diversity"]
        self.in_a_row = {name: int(state[f"{name}_limit"] or 0) for name in self.in_a_row}


def _sentence(what: str, images: int, diverged: bool) -> str:
    return (
        f"student: the distillation has {'diverged' if diverged else 'collapsed'}: {what}, {images:,} images in; lower "
        "student.generator.learning_rate or raise student.fake_steps; the best student so far is kept (student.watch "
        "sets these limits, and null lifts them)."
    )
