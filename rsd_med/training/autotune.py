"""The fastest way to compute a run's networks, found by trying each for some steps before the first one.

Which one it is depends on processor, network and batch, and no rule of ours foretold it: on one CPU bfloat16 takes two
thirds of float32's time, on another, which has the same instructions, it takes longer. What was found stays with the
run, so that it goes on, and its samples are drawn, in the same arithmetic.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.files import write_text
from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.compute import ComputeOptions, MemoryFormat, Precision, begin_pass, has_bfloat16
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.training.settings import EngineSettings

LEAST_STEPS = 200
"""A stage of fewer steps is over before a trial has repaid itself: it takes what the processor supports."""

SECONDS = 10.0
"""How long trials go on once each way has been timed."""

ROUNDS = 8
"""Times that each way is timed, at most."""

MARGIN = 0.03
"""What leaves the plain way must be faster by more than a machine's moods."""

LEAST_SECONDS_TO_COMPILE = 7200.0
"""A run that takes as long as this repays the minutes of ``torch.compile``."""


@dataclass(frozen=True)
class Trial:
    """How long the passes took in one way; infinitely long where it is not open here."""

    compute_options: ComputeOptions
    seconds: float


def supported(precision: str, engine: EngineSettings, device: torch.device) -> ComputeOptions:
    """Return the way that is taken untried: the protocol's, and bfloat16 where the processor has it.

    Parameters
    ----------
    precision
        The protocol's ``diffusion.precision``.
    engine
        Its other settings.
    device
        Where the networks are.
    """
    fastest: Precision = "bfloat16" if has_bfloat16(device) else "float32"
    return ComputeOptions(
        precision=fastest if precision == "auto" else precision,
        memory_format="contiguous" if engine.memory_format == "auto" else engine.memory_format,
        compile=_stated(engine),
    )


def candidates(precision: str, engine: EngineSettings, device: torch.device) -> list[ComputeOptions]:
    """Return the ways that a protocol leaves open, the plainest first; none of them compiled unless it says so."""
    precisions: tuple[Precision, ...] = ("float32", "bfloat16") if has_bfloat16(device) else ("float32",)
    formats: tuple[MemoryFormat, ...] = ("contiguous", "channels_last")
    return [
        ComputeOptions(precision=one, memory_format=other, compile=_stated(engine))
        for one, other in product(
            precisions if precision == "auto" else (precision,),
            formats if engine.memory_format == "auto" else (engine.memory_format,),
        )
    ]


def try_each(
    ways: Sequence[ComputeOptions], denoiser: Denoiser, image: Tensor, context: Tensor | None = None
) -> list[Trial]:
    """Time the passes of training in each way, in turn, so that other programs disturb all alike.

    Parameters
    ----------
    ways
        The ways to try.
    denoiser
        A network to be thrown away: its weights stay as they are, the way in which it is computed does not.
    image, context
        What it is shown, ``(b, channels, y, x)`` and ``(b, context_channels, y, x)``: as many as in training at once.

    Returns
    -------
    list[Trial]
        The best of a few times in each way, in seconds.
    """
    best = []
    for compute_options in ways:
        try:
            _time_passes(compute_options, denoiser, image, context)
            best.append(_time_passes(compute_options, denoiser, image, context))
        except Exception:  # no compiler, too little memory, a kernel that is missing: this way is not open here
            best.append(math.inf)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        if time.perf_counter() - began > SECONDS:
            break
        for number, compute_options in enumerate(ways):
            if math.isfinite(best[number]):
                best[number] = min(best[number], _time_passes(compute_options, denoiser, image, context))
    return [Trial(compute_options, seconds) for compute_options, seconds in zip(ways, best, strict=True)]


def may_compile(engine: EngineSettings, device: torch.device) -> bool:
    """Say whether compiling may be tried: on a CPU it took minutes and gained nothing."""
    return engine.compile == "auto" and device.type == "cuda"


def compiled(trials: Sequence[Trial], engine: EngineSettings, device: torch.device, steps: int) -> list[ComputeOptions]:
    """Return the fastest way, compiled, where that may be tried and a run of ``steps`` steps is long enough for it."""
    winner = fastest(trials)
    long = steps * min(trial.seconds for trial in trials) > LEAST_SECONDS_TO_COMPILE
    return [winner.model_copy(update={"compile": True})] if long and may_compile(engine, device) else []


def fastest(trials: Sequence[Trial]) -> ComputeOptions:
    """Return the fastest way, or the first where none is faster by more than ``MARGIN``."""
    winner = min(trials, key=lambda trial: trial.seconds)
    return winner.compute_options if winner.seconds < (1 - MARGIN) * trials[0].seconds else trials[0].compute_options


def save_autotune(path: Path, device: torch.device, compute_options: ComputeOptions, trials: Sequence[Trial]) -> None:
    """Write what a run was found to compute fastest with, and what was tried."""
    tried = [trial.compute_options.model_dump() | {"seconds": _plain(trial.seconds)} for trial in trials]
    facts = {"device": device.type, "chosen": compute_options.model_dump(), "tried": tried}
    write_text(path, json.dumps(facts, indent=2) + "\n")


def load_autotune(path: Path, device: torch.device) -> ComputeOptions | None:
    """Read what ``save_autotune`` wrote; None where nothing was written, or for another kind of device.

    Raises
    ------
    DataError
        If the file is damaged: to guess would change the arithmetic of the run.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return ComputeOptions.model_validate(facts["chosen"]) if facts["device"] == device.type else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise DataError(
            f"{path.name} of the run is damaged; restore it, or remove it and go on in whatever arithmetic is chosen "
            "anew."
        ) from error


def _stated(engine: EngineSettings) -> bool | Literal["reduce-overhead"]:
    return False if engine.compile == "auto" else engine.compile


def _time_passes(compute_options: ComputeOptions, denoiser: Denoiser, image: Tensor, context: Tensor | None) -> float:
    """Take the passes of training: to draw, to the weights, and to the input through frozen weights; in seconds."""
    begin_pass()
    denoiser.compute(compute_options)
    sigma = torch.ones(len(image), device=image.device)
    generator = generator_for(0, "trial", device=image.device)
    began = _now(image.device)
    with torch.no_grad():
        denoiser(image, sigma, context)
    for trains in (True, False):
        denoiser.requires_grad_(trains)
        asked = denoiser.learning(generator) if trains else denoiser
        shown = image.detach().requires_grad_(not trains)
        torch.autograd.backward(asked(shown, sigma, context).square().mean())
    denoiser.zero_grad(set_to_none=True)
    return _now(image.device) - began


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _plain(seconds: float) -> float | None:
    """Turn what JSON cannot say to what it can."""
    return seconds if math.isfinite(seconds) else None
