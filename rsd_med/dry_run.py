"""Everything a run needs, tried once, with nothing written."""

import time

import torch

from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.backbones import count_parameters
from rsd_med.experiment import Experiment
from rsd_med.reporting.noise_level import describe_noise_level
from rsd_med.training.batches import BatchOrder, load_batch
from rsd_med.training.stage import Stage


def dry_run(experiment: Experiment) -> str:
    """Open the data, take one step of each stage, and estimate memory and time.

    Parameters
    ----------
    experiment
        What would be run; its networks are trained by one step and thrown away.

    Returns
    -------
    str
        A few lines for a person.
    """
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
            if experiment.reference is None
            else f"{len(experiment.reference):,} images"
        ),
        f"networks: {experiment.channels} image channels + {experiment.objective.context_channels} context, "
        f"{count_parameters(teacher_stage.denoiser):,} parameters each, on {experiment.device}, "
        f"{experiment.compute_options}",
    ]
    total = 0.0
    for stage in (teacher_stage, experiment.student_stage(teacher_stage.ema.module)):
        seconds = time_step(experiment, stage)
        expected = seconds * stage.images / stage.batch_size
        total += expected
        lines.append(
            f"{stage.name}: batch {stage.batch_size}, {stage.batch_size / seconds:.0f} images/s, "
            f"about {expected / 60:.1f} min for {stage.images:,} images"
        )
    lines += [f"memory: {peak_memory(experiment.device)}", f"time: about {total / 60:.1f} min without evaluation"]
    return "\n".join(lines)


def time_step(experiment: Experiment, stage: Stage) -> float:
    """Take two steps of this rank and time the second, in seconds: the first one also sets up kernels and memory."""
    order = BatchOrder(experiment.dataset.groups(), stage.batch_size, experiment.protocol.seed, f"{stage.name}/order")
    batch = load_batch(experiment.dataset, experiment.distribution.share(order[0]), experiment.device)
    for images in (0, stage.batch_size):
        began = time.perf_counter()
        stage.step(batch, images, generator_for(0, "dry run", images, device=experiment.device))
        if experiment.device.type == "cuda":
            torch.cuda.synchronize()
    return time.perf_counter() - began


def peak_memory(device: torch.device) -> str:
    """Describe the memory taken so far, which a run will not exceed by much."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the GPU"
    import resource

    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB"
