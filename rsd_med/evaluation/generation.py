"""Drawing images from a teacher or a student, in batches that do not depend on one another."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rsd_med.base import later
from rsd_med.base.progress import watched
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Conditions
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.samplers.base import Fresh, SamplerSettings
from rsd_med.diffusion.view import View
from rsd_med.operators.channels import to_channels
from rsd_med.runs.distribution import ALONE, Distribution
from rsd_med.teachers.base import Objective

BATCH = 64
"""Images drawn at once. Part of the result's definition: draw k of a seed does not depend on how many are asked for."""

Draw = Callable[[View, Tensor, Fresh], Tensor]
"""From a view, unit noise and what else may be drawn to images."""


def teacher_draw(teacher: Denoiser, sampler: SamplerSettings, data_sigma: float) -> Draw:
    """Return a function from view and unit noise to the teacher's samples."""
    return lambda view, noise, fresh: sampler.sample(teacher, view, noise, data_sigma, fresh)


def student_draw(student: Denoiser, few_steps: FewSteps) -> Draw:
    """Return a function from view and unit noise to the student's samples."""
    return lambda view, noise, _: few_steps(student, view, noise)


@dataclass(frozen=True)
class Latents:
    """What a block of ``BATCH`` images is made of.

    Attributes
    ----------
    noise
        Unit noise in channels, ``(BATCH, channels, y, x)``.
    view
        How the networks see the images.
    fresh
        What else a sampler may draw.
    """

    noise: Tensor
    view: View
    fresh: Fresh


def draw_latents(objective: Objective, conditions: Conditions, seed: int, start: int) -> Latents:
    """Draw what images ``start`` to ``start + BATCH`` of a seed are made of; the parameters are `draw_images`'s."""
    device = conditions.device
    channels, height, width = to_channels(conditions[:1].image()).shape[1:]
    generator = generator_for(seed, "images", start, device=device)
    index = generator.integers(len(conditions), BATCH)
    fresh = Fresh(generator, partial(objective.draw_view, conditions[index], generator))
    view = fresh.view()
    return Latents(generator.normal(BATCH, channels, height, width), view, fresh)


@torch.no_grad()
def draw_images(
    draw: Draw,
    objective: Objective,
    conditions: Conditions,
    count: int,
    seed: int,
    distribution: Distribution = ALONE,
) -> Tensor:
    """Draw ``count`` images.

    Parameters
    ----------
    draw
        Sampler of a teacher or a student.
    objective
        Decides how the networks see an image.
    conditions
        Measurements whose operators (coil maps) stand for those of the data; drawn from with replacement.
    count, seed
        How many, and which.
    distribution
        Ranks draw the batches in turn, and all of them get all images.

    Returns
    -------
    Tensor
        Images in channels on the CPU, ``(count, channels, y, x)`` float32, scaled units.
    """
    batches = []
    for start in watched(distribution.deal(range(0, count, BATCH)), f"drawing images, {BATCH} at a time"):
        latents = draw_latents(objective, conditions, seed, start)
        batches.append(draw(latents.view, latents.noise, latents.fresh).cpu())
        later.check(wait=True)
    return torch.cat(distribution.gather(batches))[:count]
