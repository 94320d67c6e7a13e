"""AmbientGAN (Bora, Price & Dimakis, ICLR 2018): a critic compares corrupted generations with measurements."""

import copy
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.methods.bench import Bench
from rsd_med.base.draws import Draws
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.view import View
from rsd_med.evaluation.generation import draw_images, student_draw
from rsd_med.evaluation.monitor import corrupt_generation
from rsd_med.experiment import Experiment
from rsd_med.operators.channels import to_channels
from rsd_med.training.batches import BatchOrder, load_batch
from rsd_med.training.ema import EMA
from rsd_med.training.settings import EMASettings

BATCH = 32
RATE = 2e-4
PENALTY = 1.0
"""Weight of the critic's squared gradient at measurements (R1, arXiv 1801.04406)."""


class Critic(nn.Module):
    """Strided convolutions down to 4², then one number."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 32
        while side > 4:
            layers += [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
            channels, width, side = width, min(2 * width, 128), side // 2
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side * side, 1))

    def forward(self, observed: Tensor) -> Tensor:
        """Map ``(b, channels, y, x)`` to ``(b,)``: large for what looks measured."""
        score: Tensor = self.body(observed)
        return score[:, 0]


def observed(measurement: Measurement) -> Tensor:
    """Return what the critic sees: the measurement as an image, and the mask where there is one."""
    image = to_channels(measurement.image())
    mask = getattr(measurement.operator, "mask", None)
    if mask is None:
        return image
    return torch.cat([image, mask.to(image.dtype).expand(len(image), 1, *image.shape[-2:])], dim=1)


def train_ambient_gan(bench: Bench) -> tuple[Experiment, Denoiser, float]:
    """Train the generator, with the student's form and the teacher's backbone; the best by proximal distance is kept.

    Returns
    -------
    tuple[Experiment, Denoiser, float]
        Experiment, averaged generator, seconds.
    """
    # The networks of this objective are shown whole images, as a generator from pure noise should be.
    experiment, run = bench.experiment("ambient_gan", {"teacher.objective": {"kind": "denoising"}})
    run.lock.release()
    seed, dataset, corruption = bench.seed, experiment.dataset, experiment.corruption
    generator = experiment.build_denoiser().train()
    average = EMA(generator, EMASettings(half_life=2000, ramp_up=0.3))
    order = BatchOrder(dataset.groups(), BATCH, seed, "ambient_gan")
    first = load_batch(dataset, order[0], experiment.device)
    shape, few_steps = to_channels(first.image()).shape, experiment.protocol.student.few_steps
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        critic = Critic(observed(first).shape[1], shape[-1]).to(experiment.device)
    optimisers = [torch.optim.Adam(network.parameters(), RATE, (0.0, 0.99)) for network in (critic, generator)]
    best, best_distance = copy.deepcopy(average.module), float("inf")
    began, steps = time.monotonic(), bench.budget.gan_images // BATCH
    for step in range(steps):
        draws = generator_for(seed, "ambient_gan", step)
        batch = load_batch(dataset, order[step], experiment.device)

        def generate(batch: Measurement = batch, draws: Draws = draws) -> Tensor:
            noise = torch.randn(shape, generator=draws).to(batch.data.device)
            images = few_steps(generator, View(), noise)
            return observed(corrupt_generation(corruption, images, batch, draws))

        with torch.no_grad():
            fake = generate()
        real = observed(batch).requires_grad_(True)
        score = critic(real)
        (slope,) = torch.autograd.grad(score.sum(), real, create_graph=True)
        penalty = PENALTY / 2 * slope.square().flatten(1).sum(1).mean()
        loss = functional.softplus(critic(fake)).mean() + functional.softplus(-score).mean() + penalty
        _step(optimisers[0], loss)
        critic.requires_grad_(False)
        _step(optimisers[1], functional.softplus(-critic(generate())).mean())
        critic.requires_grad_(True)
        average.update(generator, (step + 1) * BATCH, BATCH)
        if (step + 1) % max(steps // 8, 1) == 0 or step + 1 == steps:
            draw = student_draw(average.module, few_steps)
            count = min(1000, bench.budget.samples)
            images = draw_images(draw, experiment.objective, experiment.sampling_operators, count, seed)
            distance = bench.own.monitor.distance(images) if bool(images.isfinite().all()) else float("inf")
            if distance < best_distance:
                best, best_distance = copy.deepcopy(average.module), distance
    return experiment, best, time.monotonic() - began


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
