"""What came out, in one sentence, from the figures alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rsd_med.reporting.numbers import significant, times, whole
from rsd_med.reporting.record import RunRecord, finite, number

ALIKE = 0.05
"""Two distances closer than this share are called alike."""


@dataclass(frozen=True)
class Comparison:
    """The student against the teacher's best sampler.

    Attributes
    ----------
    criterion
        ``fd`` where there was a clean reference, else ``proximal_fd``.
    sampler
        The teacher's best, by that criterion.
    teacher, student
        Their distances.
    speedup
        Seconds per image of that sampler over the student's, or None where they were not measured.
    proximal
        (student, teacher), where the distance to the measurements contradicts ``fd``: it grew. None where it does not.
    """

    criterion: str
    sampler: str
    teacher: float
    student: float
    speedup: float | None
    proximal: tuple[float, float] | None = None

    @property
    def ratio(self) -> float:
        """Return the student's distance over the teacher's."""
        return self.student / self.teacher if self.teacher > 0 else math.inf


def compare_models(models: Mapping[str, Mapping[str, Any]]) -> Comparison | None:
    """Compare the student with the teacher's best sampler; None where either has no finite distance."""
    criterion = "fd" if number(models.get("student", {}), "fd") is not None else "proximal_fd"
    best = best_teacher(models, criterion)
    student = finite(models.get("student", {}), criterion)
    if best is None or student is None:
        return None
    sampler, teacher = best
    slow = finite(models[f"teacher.{sampler}"], "seconds_per_image")
    fast = finite(models["student"], "seconds_per_image")
    speedup = slow / fast if slow is not None and fast else None
    proximal = [finite(models[name], "proximal_fd") for name in ("student", f"teacher.{sampler}")]
    return Comparison(criterion, sampler, teacher, student, speedup, _grown(*proximal) if criterion == "fd" else None)


def _grown(student: float | None, before: float | None) -> tuple[float, float] | None:
    """Return both distances where the student's is the larger one."""
    if student is None or before is None or student <= (1 + ALIKE) * before:
        return None
    return student, before


def best_teacher(models: Mapping[str, Mapping[str, Any]], criterion: str) -> tuple[str, float] | None:
    """Return the teacher's sampler of smallest distance, and the distance."""
    distances = {
        name.removeprefix("teacher."): distance
        for name, figures in models.items()
        if name.startswith("teacher.") and (distance := finite(figures, criterion)) is not None
    }
    return min(distances.items(), key=lambda item: item[1], default=None)


def verdict(record: RunRecord) -> str:
    """Say in one sentence what the run showed, or how far it came."""
    models = record.models()
    comparison = compare_models(models)
    if comparison is not None:
        return _judge(comparison, record.never_improved())
    if "student" in models:
        return "The student was measured, but not with finite distances that could be compared: see the table."
    if models:
        return _teacher_alone(models)
    for stage in ("student", "teacher"):
        if images := record.images_seen(stage):
            return f"Nothing has been evaluated yet: the {stage} has seen {whole(images)} images."
    return "Nothing has been trained or evaluated yet."


def _judge(comparison: Comparison, never_improved: bool) -> str:
    figures = f"{significant(comparison.student)} against {significant(comparison.teacher)} ({times(comparison.ratio)})"
    if comparison.criterion == "fd":
        measure, goal = "Fréchet distance", "clean images"
    else:
        measure, goal = "proximal Fréchet distance", "the measurements, once corrupted like them,"
    rival = f"the teacher’s best sampler ({comparison.sampler})"
    if comparison.ratio > 1 + ALIKE:
        start = f"The one-step student stays farther from {goal} than {rival}"
    elif comparison.proximal is not None or never_improved:
        start = f"The one-step student {_doubt(comparison)}; against {rival} it has"
    elif comparison.ratio < 1 - ALIKE:
        start = f"The one-step student comes closer to {goal} than {rival}"
    else:
        start = f"The one-step student comes about as close to {goal} as {rival}"
    end = ""
    if comparison.speedup is not None:
        faster = comparison.speedup >= 1
        factor = comparison.speedup if faster else 1 / comparison.speedup
        end = f", and {times(factor)} as {'fast' if faster else 'slow'}"
    joint = " a" if start.endswith(" has") else ":"
    return f"{start}{joint} {measure} {figures}{end}."


def _doubt(comparison: Comparison) -> str:
    """Say what speaks against a student whose distance to clean images does not."""
    if comparison.proximal is None:
        return "only moved away from the measurements while it was trained"
    student, teacher = comparison.proximal
    distances = f"{significant(student)} against {significant(teacher)}"
    return (
        "has figures that contradict each other: corrupted like the measurements, its images are farther from them "
        f"than the teacher’s (proximal Fréchet distance {distances})"
    )


def _teacher_alone(models: Mapping[str, Mapping[str, Any]]) -> str:
    start = "The student has not been trained yet"
    for criterion, measure in (("fd", "Fréchet distance"), ("proximal_fd", "proximal Fréchet distance")):
        best = best_teacher(models, criterion)
        if best is not None:
            return f"{start}; the teacher’s best sampler is {best[0]}, at a {measure} of {significant(best[1])}."
    return f"{start}."
