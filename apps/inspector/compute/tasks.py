"""What the worker can do, by name, and the worker's main function."""

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsd_med.base.progress import Progress, part_of, silent
from rsd_med.inverse.kinds import SOLVERS

from .first_look import BASELINE, SAMPLES, usual_speed
from .methods import TITLES, kind_of
from .worker import serve

if TYPE_CHECKING:
    from .model import Model
    from .reconstruction import ReadyScans


def run_worker(pipe: Connection, run: Path, threads: int) -> None:
    """Serve the model of a run; the worker's main function."""
    # Ctrl-C in the terminal reaches every process; the server decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # Threads that wait by spinning take the processor from the server, and from whoever else works on this machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(threads)
    serve(pipe, build_tasks(run))


def build_tasks(run: Path) -> dict[str, Callable[..., Any]]:
    """Load a run's model and return the tasks on it.

    A model that cannot be loaded is no reason to end: every task then answers with the sentence that says why.
    """
    from rsd_med.base.errors import RsdMedError

    from .model import Model
    from .reconstruction import ReadyScans

    of_model: dict[str, Callable[..., Any]] = {
        "facts": _facts,
        "grid": _grid,
        "teacher": _teacher,
        "nearest": _nearest,
        "between": _between,
    }
    of_scans: dict[str, Callable[..., Any]] = {
        "read": _read,
        "reconstruct": _reconstruct,
        "welcome": _welcome,
        "forget": _forget,
    }
    try:
        model = Model(run)
    except RsdMedError as error:
        return dict.fromkeys([*of_model, *of_scans], partial(_refuse, error))
    # The first picture that everybody sees is ready before anybody asks.
    if "student" in model.stages:
        model.student(0, range(1), 1.0, silent)
    scans = ReadyScans(model)
    return {
        **{name: partial(task, model) for name, task in of_model.items()},
        **{name: partial(task, scans) for name, task in of_scans.items()},
    }


def _refuse(error: Exception, *, progress: Progress, **_: Any) -> None:
    raise error


def _facts(model: "Model", *, progress: Progress) -> dict[str, Any]:
    return model.facts()


def _grid(model: "Model", *, progress: Progress, seed: int, count: int, truncation: float) -> np.ndarray:
    return model.student(seed, range(count), truncation, progress)


def _teacher(
    model: "Model", *, progress: Progress, seed: int, numbers: list[int], truncation: float, calls: int
) -> dict[str, Any]:
    import time

    begun = time.perf_counter()
    student = model.student(seed, numbers, truncation, silent)
    between = time.perf_counter()
    teacher = model.teacher(seed, numbers, truncation, calls, progress)
    return {
        "student": student,
        "teacher": teacher,
        "student_seconds": between - begun,
        "teacher_seconds": time.perf_counter() - between,
        "calls": model.teacher_sampler(calls).calls(model.experiment.objective.corruption.sigma),
    }


def _nearest(
    model: "Model", *, progress: Progress, seed: int, numbers: list[int], truncation: float, everything: bool
) -> dict[str, Any]:
    from .nearest import nearest_of_all, nearest_of_kept

    images = model.student(seed, numbers, truncation, silent)
    search = nearest_of_all if everything else nearest_of_kept
    return {"images": images, **search(model, images, progress)}


def _between(
    model: "Model", *, progress: Progress, seed: int, first: int, second: int, truncation: float, frames: int
) -> np.ndarray:
    return model.between(seed, first, second, truncation, frames, progress)


def _read(scans: "ReadyScans", *, progress: Progress, scan: str | int, acceleration: float | None) -> dict[str, Any]:
    """Calibrate a scan and say what it is; ``scan`` is a file that the child wrote, or the number of an example.

    With it come the zero-filled image and, where the scan was undersampled here, the complete one: ``images`` by name,
    float32 (y, x), in the values of the file.
    """
    from . import reconstruction, trust

    model, ready = scans.model, scans.get(scan, acceleration)
    facts = reconstruction.describe(ready)
    images = reconstruction.measured(ready)
    geometry = ready.prepared.geometry
    networks = model.networks_for(facts["shape"])
    return {
        **facts,
        "asks": {name: SOLVERS[kind_of(name)].needs or "" for name in TITLES},
        "first": first_methods(networks),
        "learned": networks,
        "trained": trust.training(model),
        "images": images,
        "affine": geometry.affine,
        "spacing": geometry.spacing_mm,
    }


def first_methods(networks: Sequence[str]) -> list[str]:
    """Return what a first look compares: L1-wavelet, and the first method that asks one of these networks."""
    learned = [name for name in SOLVERS if SOLVERS[name].needs is not None and SOLVERS[name].needs in networks]
    return [BASELINE, *learned[:1]]


def _welcome(scans: "ReadyScans", *, progress: Progress, number: int) -> None:
    """Reconstruct the first held-out case, which everybody sees first, by one of the methods of a first look."""
    model = scans.model
    speed = usual_speed(getattr(model.experiment.protocol.corruption, "acceleration", None))
    for method in first_methods(model.networks)[number : number + 1]:
        scans.answers[0, speed, method, SAMPLES] = _answer(scans, 0, speed, method, SAMPLES, progress)


def _forget(scans: "ReadyScans", *, progress: Progress, folder: str) -> None:
    """Drop what is left of a session that has ended."""
    scans.forget(Path(folder))


def _reconstruct(
    scans: "ReadyScans",
    *,
    progress: Progress,
    scan: str | int,
    acceleration: float | None,
    method: str,
    samples: int,
    window: tuple[float, float],
    name: str,
    title: str,
    folder: str,
) -> dict[str, Any]:
    """Reconstruct a scan; what is to be kept is written to ``folder``, in files that begin with ``name``."""
    from .exports import write_exports

    answer = scans.answers.get((scan, acceleration, method, samples))
    if answer is None:
        answer = _answer(scans, scan, acceleration, method, samples, progress)
        if isinstance(scan, int):  # everybody who opens an example sees the same
            scans.answers[scan, acceleration, method, samples] = answer
    ready = scans.get(scan, acceleration)
    exported = {key: answer["images"][key] for key in ("result", "uncertainty") if key in answer["images"]}
    figures = [("scan, slice, acceleration, method", title), *answer["figures"]]
    files = write_exports(Path(folder), exported, ready.prepared.geometry, window, figures, name=name, title=title)
    return {**answer, "files": files}


def _answer(
    scans: "ReadyScans", scan: str | int, acceleration: float | None, method: str, samples: int, progress: Progress
) -> dict[str, Any]:
    """Reconstruct a scan and judge the result."""
    from . import reconstruction, trust

    model, ready = scans.model, scans.get(scan, acceleration)
    solver = reconstruction.build_solver(model, method, samples)
    result, zero_filled = reconstruction.reconstruct(model, ready, method, solver, part_of(progress, 0, 2))
    hidden = trust.hidden_lines(model, ready, method, solver, part_of(progress, 1, 2))
    learned = SOLVERS[kind_of(method)].needs is not None
    facts = reconstruction.describe(ready)
    quality = reconstruction.quality(ready, result.mean)
    before = reconstruction.quality(ready, zero_filled)
    agreement = trust.residual(ready, method, result)
    prior = trust.prior(model, scans.domain, scan) if learned else None
    return {
        "images": reconstruction.arrays(ready, result, zero_filled),
        "seconds": result.seconds,
        "samples": len(result.samples),
        "trust": {
            "learned": learned,
            "residual": agreement,
            "hidden": hidden,
            "prior": prior,
            "quality": quality,
            "exact": facts["exact"],
            "zero_filled": before,
            "maps": facts["maps"],
            "adaptation": result.facts.get("adaptation"),
        },
        "figures": [
            ("method", TITLES[method]),
            ("samples", len(result.samples)),
            ("acceleration", facts["sampling"]["acceleration"]),
            ("coils", facts["coils"]),
            ("simulated scan of an image", facts["simulated"]),
            ("noise sigma, scaled units", facts["sigma"]),
            ("scale, units of the file", facts["scale"]),
            ("residual over noise", result.residual.noise_ratio),
            ("residual, relative", result.residual.relative),
            ("consistent with the measured lines", agreement["consistent"]),
            *([("squared error on hidden lines", hidden["own"])] if hidden and "own" in hidden else []),
            *([("the same of L1-wavelet", hidden["baseline"])] if hidden and "own" in hidden else []),
            *([("foreign to the prior", prior["like"]["foreign"])] if prior and prior["like"] else []),
            ("seconds", round(result.seconds, 3)),
            *((f"{name} against the fully sampled image", value) for name, value in quality.items()),
            *((f"{name} of the zero-filled image", value) for name, value in before.items()),
        ],
    }
