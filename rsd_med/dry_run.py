"""Everything a run needs, tried once, with nothing written."""

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from rsd_med.base.randomness import generator_for
from rsd_med.completion import completed_like
from rsd_med.costs import describe, shape_of
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.diffusion.backbones import count_parameters
from rsd_med.experiment import Experiment
from rsd_med.reporting.noise_level import describe_noise_level
from rsd_med.training.batches import BatchOrder, load_batch
from rsd_med.training.reconstructor_stage import ReconstructorStage
from rsd_med.training.stage import Stage

FEW_IMAGES = 16
"""Images that stand for those behind the distances, and for the reference."""

PATIENCE = 5.0
"""Seconds that the trial of a stage takes, or what a few images take if that is longer."""

GROWTH = 4
"""How many times more images are tried next."""


def dry_run(experiment: Experiment, device_gib: float | None = None) -> str:
    """Open the data, try each stage, and estimate memory and time: within seconds, however large the run is.

    Parameters
    ----------
    experiment
        What would be run, with `FEW_IMAGES` at most; its networks are trained by some steps and thrown away.
    device_gib
        Memory of the card that it is counted for; None: of the GPU that is there, if there is one.

    Returns
    -------
    str
        A few lines for a person.
    """
    experiment.check()
    experiment = replace(experiment, completed=None)  # no scan is completed yet
    protocol = experiment.protocol
    groups = experiment.dataset.groups()
    teacher_stage = experiment.teacher_stage()
    estimated = describe_noise_level(protocol.corruption.model_dump())
    lines = [
        f"protocol {protocol.name}: valid",
        f"data: {len(experiment.dataset):,} measurements of shape "
        + ", ".join(f"{shape} ({len(items):,})" for shape, items in groups.items()),
        *([] if estimated is None else [f"noise: {estimated}"]),
        "reference: "
        + (
            "none (proximal distances only)"
            if experiment.reference_data is None
            else f"{len(experiment.reference_data[1]):,} images"
        ),
        f"networks: {experiment.channels} image channels + {experiment.objective.context_channels} context, "
        f"{count_parameters(teacher_stage.denoiser):,} parameters each, on {experiment.device}, "
        f"{experiment.compute_options}",
    ]
    total, more_than = 0.0, ""
    stages: dict[str, Stage] = {
        "teacher": teacher_stage, "student": experiment.student_stage(teacher_stage.ema.module)
    }  # fmt: skip
    if protocol.reconstructor is not None:
        start = teacher_stage.ema.module if protocol.reconstructor.start == "teacher" else None
        stages["reconstructor"] = experiment.reconstructor_stage(start)
    for stage in (stages[name] for name in protocol.stages):
        seconds, tried = time_step(experiment, stage)
        partly = "" if tried == stage.batch_size else f" (judged by {tried} images at once)"
        more_than = "more than " if partly else more_than
        expected = seconds * stage.images / stage.batch_size
        total += expected
        lines.append(
            f"{stage.name}: batch {stage.batch_size}, {stage.batch_size / seconds:.0f} images/s, "
            f"about {expected / 60:.1f} min for {stage.images:,} images{partly}"
        )
    memory = more_than + peak_memory(experiment.device)
    ranks = experiment.distribution.world_size
    days = f", {ranks * total / 86_400:.3g} GPU-days" if experiment.device.type == "cuda" else ""
    lines += [f"memory: {memory}", f"time: about {total / 60:.1f} min{days} without evaluation"]
    if device_gib is None and experiment.device.type == "cuda":
        device_gib = torch.cuda.get_device_properties(experiment.device).total_memory / 2**30
    if device_gib is not None:
        _, sentences = describe(protocol, shape_of(experiment), ranks, device_gib)
        lines += [f"counted for each GPU: {sentence}" for sentence in sentences]
    return "\n".join(lines)


def time_step(experiment: Experiment, stage: Stage) -> tuple[float, int]:
    """Time a step of this rank, with as large a part of the batch as takes seconds.

    Returns
    -------
    tuple[float, int]
        Seconds that a whole step takes, and images that were tried at once, on all ranks together.
    """
    distribution, reconstructs = experiment.distribution, isinstance(stage, ReconstructorStage)
    dataset = experiment.reconstructor_dataset if reconstructs else experiment.dataset
    completes = experiment.protocol.teacher.objective.completes and not reconstructs
    order = BatchOrder(dataset.groups(), stage.batch_size, experiment.protocol.seed, f"{stage.name}/order")
    share = distribution.share(order[0])
    tried = min(len(share), stage.micro_batch or 1)
    _step(dataset, stage, share[:tried], experiment.device, completes)  # sets up kernels and memory, too
    began = time.perf_counter()
    while True:
        own = _step(dataset, stage, share[:tried], experiment.device, completes)
        # All ranks go on alike, or they would wait for each other's gradients for ever.
        facts = distribution.gather([torch.tensor([own, time.perf_counter() - began], dtype=torch.float64)])
        seconds, spent = torch.stack(facts).amax(0).tolist()
        if tried == len(share) or spent + GROWTH * seconds > PATIENCE:
            return seconds * len(share) / tried, tried * distribution.world_size
        tried = min(len(share), GROWTH * tried)


def _step(
    dataset: MeasurementDataset,
    stage: Stage,
    indices: Sequence[int],
    device: torch.device,
    completes: bool,
) -> float:
    """Take one step and return its seconds."""
    batch = load_batch(dataset, indices, device)
    if completes:
        batch = completed_like(batch)
    began = time.perf_counter()
    stage.step(batch, 0, generator_for(0, "dry run", device=device))
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def peak_memory(device: torch.device) -> str:
    """Describe the memory taken so far, which a run will not exceed by much."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the GPU"
    import resource

    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB"
