"""Expectation maximisation (Rozet et al., arXiv 2405.13712): sample posteriors, train the prior on them."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.methods.bench import PLAIN, Bench, continued, train_to_end
from rsd_med.base.files import written_aside
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.schedules import karras_levels
from rsd_med.experiment import Experiment
from rsd_med.inverse.proximal import data_proximal, posterior_draws
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.training.batches import load_batch

STEPS, SIGMA_MAX, SIGMA_MIN = 32, 10.0, 0.02
BATCH = 64


def train_by_expectation(bench: Bench) -> tuple[Experiment, Denoiser, int, list[str]]:
    """Start from EDM on the measurements as they are, then repeat both steps.

    Returns
    -------
    tuple[Experiment, Denoiser, int, list[str]]
        Experiment and denoiser of the last lap, images of all trainings, and their names.
    """
    budget = bench.budget
    images = budget.teacher_images // 2
    names = ["em_start"]
    changes = {"teacher.objective": {"kind": "denoising"}, "teacher.images": images}
    experiment, run = bench.experiment(names[0], changes)
    prior = train_to_end(experiment, run, "teacher", experiment.teacher_stage)
    for lap in range(1, budget.laps + 1):
        path = bench.folder / f"em_{lap}.npy"
        if not path.exists():
            _save(path, expectation(bench, prior, lap))
        names.append(f"em_{lap}")
        data: dict[str, Any] = {"kind": "arrays", "root": str(path.resolve())}
        data |= {"scale": 1.0} if bench.task.complex_images else {"range": [-1.0, 1.0], "channels": "first"}
        length = max(images // budget.laps, 1)
        experiment, run = bench.experiment(names[-1], PLAIN | {"data": data, "teacher.images": length})
        prior = train_to_end(experiment, run, "teacher", partial(continued, experiment, prior))
        images += length
    return experiment, prior, images, names


def expectation(bench: Bench, prior: Denoiser, lap: int) -> Tensor:
    """Draw one image from the posterior of each of ``lap_images`` measurements: channels, on the CPU."""
    experiment = bench.own
    generator = generator_for(bench.seed, "expectation", lap)
    order = torch.randperm(len(experiment.dataset), generator=generator).tolist()[: bench.budget.lap_images]
    drawn = []
    for start in range(0, len(order), BATCH):
        batch = load_batch(experiment.dataset, order[start : start + BATCH], experiment.device)
        drawn.append(posterior_samples(prior, batch, generator_for(bench.seed, "posterior", lap * 10**6 + start)))
    return torch.cat(drawn)


@torch.no_grad()
def posterior_samples(
    prior: Denoiser, measurement: Measurement, generator: torch.Generator, steps: int = STEPS
) -> Tensor:
    """Draw an image from the posterior of each measurement; in channels.

    The walk of A-DPS with a prior of whole images: at level σ the image is normal around D with variance
    ``τ² = σ² σ_d² / (σ² + σ_d²)``, and its mean given y takes its place. Exact for white Gaussian images, many steps.
    """
    shape = to_channels(measurement.image()).shape
    device = measurement.data.device
    levels = karras_levels(steps, SIGMA_MIN, SIGMA_MAX, device=device)
    x = levels[0] * torch.randn(shape, generator=generator).to(device)
    complex_images = measurement.operator.complex_domain or measurement.data.is_complex()

    def image(channels: Tensor) -> Tensor:
        return to_complex(channels) if complex_images else channels

    variance = torch.zeros(())
    for here, there in pairwise(levels):
        estimate = prior(x, here.expand(len(x)))
        variance = (here**2 * prior.sigma_data**2 / (here**2 + prior.sigma_data**2)).expand(len(x)).reshape(-1, 1, 1, 1)
        if there == 0:
            draws = [generator_for(int(torch.randint(2**62, (1,), generator=generator)), "draw") for _ in x]
            return to_channels(posterior_draws(image(estimate), variance, measurement, draws)).cpu()
        mean = to_channels(data_proximal(image(estimate), variance, measurement))
        x = mean + there / here * (x - mean)
    raise AssertionError("levels end at 0")


def _save(path: Path, images: Tensor) -> None:
    """Store images in channels so that the package reads them: complex ones as such, pictures from black to white."""
    stored = to_complex(images)[:, 0] if images.shape[1] == 2 else images.clamp(-1, 1)
    with written_aside(path) as side:
        np.save(side, stored.numpy())
