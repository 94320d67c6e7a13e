"""What a draw of σ below the noise of the data costs: Ambient Tweedie with such draws made again, against the clamp.

python -m benchmarks.tweedie_draws [--images N] [--batch-size B] [--seeds S]

Two networks of the same first weights learn MNIST at 16×16 with noise of 0.4, from the same batches and at the same
rate; one has the levels drawn below the noise raised to it, as published, and the other has them drawn again. Both are
judged by the same loss, on held-out noisy images with one fixed draw of levels and noise: how many images does the
second need to be where the first ends? All on one thread, so that the result does not depend on the machine's load.
"""

import argparse
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from benchmarks.common import Figure, conclude, shared_data
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Measurement
from rsd_med.corruptions.noise import NoiseSettings
from rsd_med.diffusion.backbones.monai_unet import MonaiUNetSettings
from rsd_med.diffusion.denoiser import DiffusionSettings, build_denoiser
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.operators.linear import Identity
from rsd_med.teachers.ambient_tweedie import AmbientTweedie, Below
from rsd_med.training.adam import AdamSettings
from rsd_med.training.ema import EMA
from rsd_med.training.optim import take_step
from rsd_med.training.settings import EMASettings

SIGMA = 0.4
BOUND = 1.4
TRAINING = 20_000
HELD_OUT = 500
EVALUATE_EVERY = 1000
BACKBONE = MonaiUNetSettings(channels=(16, 32), attention=(False, False))
DIFFUSION = DiffusionSettings(precision="float32")
OPTIMISER = AdamSettings(learning_rate=1e-3, warmup_images=1000)
AVERAGE = EMASettings(half_life=2000, ramp_up=0.1)


def main() -> int:
    """Train both ways with every seed and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tweedie_draws", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16_000, help="length of each training (default 16,000)")
    parser.add_argument("--batch-size", type=int, default=16, help="images in a step (default 16)")
    parser.add_argument("--seeds", type=int, default=2, help="how often (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    stored = np.load(shared_data("mnist") / "mnist.npz")
    clean = {
        split: small_images(stored[f"x_{split}"][:count]) for split, count in (("train", TRAINING), ("test", HELD_OUT))
    }
    figures, curves, began = [], [], time.process_time()
    for seed in range(options.seeds):
        train = measure(clean["train"], seed, "train")
        held_out = measure(clean["test"], seed, "held out")
        found = {below: curve(below, train, held_out, seed, options) for below in ("clamp", "resample")}
        needed = images_needed(found["resample"], found["clamp"][-1][1])
        figures.append(Figure(f"clamp's images / those that resample needs, seed {seed}", options.images / needed))
        curves.append({"seed": seed, **found})
    figures.insert(0, Figure("the smallest of them", min(f.value for f in figures), BOUND, at_most=False))
    details: dict[str, Any] = {
        "data": "MNIST, 16×16", "sigma": SIGMA, "images": options.images, "batch_size": options.batch_size,
        "held_out": HELD_OUT, "loss": "Ambient Tweedie on held-out noisy images, averaged weights", "curves": curves,
        "backbone": BACKBONE.model_dump(mode="json"), "optimiser": OPTIMISER.model_dump(mode="json"),
        "average": AVERAGE.model_dump(mode="json"), "processor_seconds": time.process_time() - began,
    }  # fmt: skip
    return conclude("tweedie_draws", figures, details)


def small_images(digits: np.ndarray) -> Tensor:
    """Halve MNIST's digits ``(n, 28, 28)``: ``(n, 1, 16, 16)`` in [-1, 1]."""
    images = torch.from_numpy(digits).float()[:, None] / 127.5 - 1
    return avg_pool2d(pad(images, (2, 2, 2, 2), value=-1.0), 2)


def measure(images: Tensor, seed: int, purpose: str) -> Measurement:
    """Add noise to each image, once and for all."""
    count = len(images)
    noise = torch.randn(images.shape, generator=generator_for(seed, "corruption", purpose))
    return Measurement(
        images + SIGMA * noise, Identity(), torch.full((count,), SIGMA), torch.ones(count), ("digit",) * count
    )


def curve(
    below: Below, train: Measurement, held_out: Measurement, seed: int, options: argparse.Namespace
) -> list[tuple[int, float]]:
    """Train one way; return the images seen and the held-out loss of the averaged weights, from time to time."""
    corruption, levels = NoiseSettings(sigma=SIGMA).build(), LogNormalLevels()
    objective, judge = AmbientTweedie(corruption, levels, below), AmbientTweedie(corruption, levels)
    denoiser = build_denoiser(BACKBONE, DIFFUSION, 1, 0, generator_for(seed, "weights"))
    average = EMA(denoiser, AVERAGE)
    optimiser = OPTIMISER.build(denoiser)
    found: list[tuple[int, float]] = []
    for images in range(0, options.images, options.batch_size):
        generator = generator_for(seed, "step", images)
        batch = train[torch.randint(len(train), (options.batch_size,), generator=generator)]
        objective(denoiser, batch, generator).mean().backward()
        take_step(denoiser, optimiser, OPTIMISER, images, options.images)
        seen = images + options.batch_size
        average.update(denoiser, seen, options.batch_size)
        if seen // EVALUATE_EVERY > images // EVALUATE_EVERY or seen >= options.images:
            with torch.no_grad():
                loss = float(judge(average.module, held_out, generator_for(seed, "evaluation")).mean())
            found.append((seen, loss))
    print(f"seed {seed}, {below}: {found[-1][1]:.3f} after {found[-1][0]:,} images", flush=True)
    return found


def images_needed(curve: list[tuple[int, float]], goal: float) -> float:
    """Return where a curve first reaches ``goal``, between its points linearly; infinite where it does not."""
    before_images, before_loss = curve[0]
    for images, loss in curve:
        if loss <= goal:
            share = (before_loss - goal) / (before_loss - loss) if before_loss > loss else 1.0
            return before_images + share * (images - before_images)
        before_images, before_loss = images, loss
    return float("inf")


if __name__ == "__main__":
    sys.exit(main())
