"""What the worker can do, by name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from apps.inspector.model import Model
from apps.inspector.worker import Progress


def build_tasks(run: Path) -> dict[str, Callable[..., Any]]:
    """Load a run's model and return the tasks on it.

    A model that cannot be loaded is no reason to end: every task then answers with the sentence that says why.
    """
    from rsd_med.base.errors import RsdMedError

    tasks: dict[str, Callable[..., Any]] = {
        "facts": _facts,
        "grid": _grid,
        "teacher": _teacher,
        "nearest": _nearest,
        "between": _between,
    }
    try:
        model = Model(run)
    except RsdMedError as error:
        return dict.fromkeys(tasks, partial(_refuse, error))
    # The first picture that everybody sees is ready before anybody asks.
    if "student" in model.stages:
        model.student(0, range(1), 1.0, lambda _: None)
    return {name: partial(task, model) for name, task in tasks.items()}


def _refuse(error: Exception, *, progress: Progress, **_: Any) -> None:
    raise error


def _facts(model: Model, *, progress: Progress) -> dict[str, Any]:
    return model.facts()


def _grid(model: Model, *, progress: Progress, seed: int, count: int, truncation: float) -> np.ndarray:
    return model.student(seed, range(count), truncation, progress)


def _teacher(
    model: Model, *, progress: Progress, seed: int, numbers: list[int], truncation: float, calls: int
) -> dict[str, Any]:
    import time

    begun = time.perf_counter()
    student = model.student(seed, numbers, truncation, lambda _: None)
    between = time.perf_counter()
    teacher = model.teacher(seed, numbers, truncation, calls, progress)
    return {
        "student": student,
        "teacher": teacher,
        "student_seconds": between - begun,
        "teacher_seconds": time.perf_counter() - between,
        "calls": model.teacher_sampler(calls).calls(model.experiment.corruption.sigma),
    }


def _nearest(
    model: Model, *, progress: Progress, seed: int, numbers: list[int], truncation: float
) -> dict[str, np.ndarray]:
    images = model.student(seed, numbers, truncation, lambda _: None)
    return {"images": images, **model.nearest(images, progress)}


def _between(
    model: Model, *, progress: Progress, seed: int, first: int, second: int, truncation: float, frames: int
) -> np.ndarray:
    return model.between(seed, first, second, truncation, frames, progress)
