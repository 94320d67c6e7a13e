"""How a distillation is going, in figures at fixed noise."""

import torch
from torch import Tensor

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Conditions
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.evaluation.monitor import corrupt_generation
from rsd_med.students.base import StudentLoss, per_item_weight
from rsd_med.teachers.base import Objective

ITEMS = 64
"""Generations, and measurements, behind the figures of a comparison: four network calls for each."""


@torch.no_grad()
def compare_scores(
    loss: StudentLoss,
    objective: Objective,
    teacher: Denoiser,
    fake: Denoiser,
    images: Tensor,
    measurements: Conditions,
    seed: int,
) -> dict[str, float]:
    """Compare teacher and fake score on generations, with the same latents, masks, levels and noise at every call.

    Parameters
    ----------
    loss
        What the student learns by; it says at which levels both are asked.
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
    dict[str, float]
        ``gap``, the mean over items of ``mean|a − b| / mean|y_θ − a|``: how far the two disagree, in units of what the
        teacher would change; 0 where the student has nothing more to learn. ``fixed_fake_loss``, the fake score's
        objective on corrupted generations, and ``fixed_teacher_loss``, the teacher's on the measurements at the same
        levels: a fake score that follows its generator is as good at its task as the teacher at its own.
    """
    items = min(ITEMS, len(images), len(measurements))
    like, device = measurements[:items], measurements.device
    images = images[:items].to(device)
    corruption = objective.corruption
    generator = generator_for(seed, "diagnostics/gap", device=device)
    operator = corruption.draw(like, generator)
    view = objective.show(objective.further(operator, generator))
    observed = objective.observe(images, operator)
    noisy, sigma = loss.settings.noised(observed, corruption.sigma, generator)
    a, b = (view.denoise(network, noisy, sigma) for network in (teacher, fake))
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
