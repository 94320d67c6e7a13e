"""What came out, in a few sentences, from the figures alone: absolute figures first, the ratio last."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rsd_med.reporting.numbers import percent, significant, times, whole
from rsd_med.reporting.quality import Grade, Judgement, judge, worst
from rsd_med.reporting.record import RunRecord, finite, model_title, number

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
    """Say what the run showed, in a few sentences."""
    return " ".join(verdict_sentences(record))


def verdict_sentences(record: RunRecord) -> list[str]:
    """Say how good a run's images are by themselves, then what is wrong with them, then the ratio."""
    models = record.models()
    if not models:
        return [_not_evaluated(record)]
    untrained = [] if "student" in models else ["The student has not been trained yet."]
    name = shown_model(record)
    if finite(models[name], "proximal_fd" if number(models[name], "fd") is None else "fd") is None:
        measured = f"The {model_title(name).lower()} was measured, but not with finite distances: see the table."
        return [*untrained, measured]
    comparison = compare_models(models)
    doubt = _doubt(comparison, record)
    sentences = [*_absolute(record, name, doubt is not None), doubt, describe_comparison(comparison)]
    return untrained + [sentence for sentence in sentences if sentence]


def _not_evaluated(record: RunRecord) -> str:
    for stage in ("student", "teacher"):
        if images := record.images_seen(stage):
            return f"Nothing has been evaluated yet: the {stage} has seen {whole(images)} images."
    return "Nothing has been trained or evaluated yet."


def shown_model(record: RunRecord) -> str:
    """Return the model that a report speaks of first: the student, or else the teacher's best sampler."""
    models = record.models()
    if "student" in models:
        return "student"
    best = best_teacher(models, "fd") or best_teacher(models, "proximal_fd")
    return next(iter(models)) if best is None else f"teacher.{best[0]}"


_NEARNESS: Mapping[Grade, str] = {
    "good": "are close to real ones",
    "fair": "are not far from real ones",
    "poor": "are far from real ones",
    "unknown": "were measured against clean ones",
}


def _absolute(record: RunRecord, name: str, doubted: bool) -> list[str]:
    whose = "The student’s images" if name == "student" else f"The images of the {model_title(name).lower()}"
    judgements = {judgement.key: judgement for judgement in judge(record, name)}
    if "fd" not in judgements:
        distance = significant(finite(record.models()[name], "proximal_fd"))
        return [
            f"{whose}, corrupted like the measurements, are at a proximal Fréchet distance of {distance} from them; "
            "there is no clean image to say how good they are."
        ]
    keys = [key for key in ("fd", "coverage", "precision") if key in judgements]
    grade = worst(list(judgements.values()), *keys)
    nearness = _NEARNESS["unknown" if doubted and grade != "poor" else grade]
    figures = [f"{judgements[key].title} {judgements[key].value}{_floor(record, key)}" for key in keys]
    listed = ", ".join(f"{figure[0].lower()}{figure[1:]}" if figure[0] != "F" else figure for figure in figures)
    return [f"{whose} {nearness}: {listed}.", *_faults(judgements)]


def _floor(record: RunRecord, key: str) -> str:
    value = finite(record.floor, key)
    if value is None:
        return ""
    return f" (real images {significant(value)})" if key == "fd" else f" ({percent(value)})"


def _faults(judgements: Mapping[str, Judgement]) -> list[str]:
    grain, air = judgements.get("spectrum_deviation"), judgements.get("air")
    faults = [grain.words] if grain and grain.grade != "good" else []
    if air and air.grade != "good":
        faults.append(f"{air.words} ({air.value})")
    if faults:
        sentence = "; ".join(faults)
        return [f"{sentence[0].upper()}{sentence[1:]}."]
    if grain and air:
        return ["They show no grain, no blur and no bright air."]
    return ["They show neither grain nor blur."] if grain else []


def _doubt(comparison: Comparison | None, record: RunRecord) -> str | None:
    """Say what speaks against a student whose distance to clean images does not."""
    if comparison is None:
        return None
    if comparison.proximal is not None:
        student, teacher = comparison.proximal
        distances = f"{significant(student)} against {significant(teacher)}"
        return (
            "Its figures contradict each other: corrupted like the measurements, its images are farther from them "
            f"than the teacher’s (proximal Fréchet distance {distances})."
        )
    if record.never_improved():
        return "It only moved away from the measurements while it was trained."
    return None


def describe_comparison(comparison: Comparison | None) -> str | None:
    """Say in one line how the student stands against its teacher."""
    if comparison is None:
        return None
    measure = "" if comparison.criterion == "fd" else "proximal "
    speed = ""
    if comparison.speedup is not None:
        faster = comparison.speedup >= 1
        factor = comparison.speedup if faster else 1 / comparison.speedup
        speed = f", {times(factor)} as {'fast' if faster else 'slow'}"
    return (
        f"Against the teacher’s best sampler ({comparison.sampler}, at {significant(comparison.teacher)}): "
        f"{times(comparison.ratio)} its {measure}distance{speed}."
    )
