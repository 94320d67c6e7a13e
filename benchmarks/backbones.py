"""Networks and optimisers by the processor time they take to a held-out loss: clean 64 x 64 brains, EDM's loss.

python -m benchmarks.backbones [--seconds N] [--size 64] [--only NAME]…

Each contender computes in the way that is fastest for it here, for as many seconds of the process (other programs do
not count), at a constant rate after a ramp; its average is asked. Error: mean squared, of test images of other subjects
at σ = 0.1, 0.3 and 1, with the same noise for all; "loss" is their mean under EDM's weights. Time to a loss is read
between two points of a curve.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Figure, conclude, shared_data
from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.backbones import BackboneSettings, DDPMPlusPlusSettings, MonaiUNetSettings, PatchUNetSettings
from rsd_med.diffusion.backbones.base import count_parameters
from rsd_med.diffusion.denoiser import Denoiser, DiffusionSettings, build_denoiser
from rsd_med.training.adam import AdamSettings
from rsd_med.training.autotune import candidates, fastest, try_each
from rsd_med.training.ema import EMA
from rsd_med.training.muon import MuonSettings
from rsd_med.training.optim import OptimiserSettings, take_step
from rsd_med.training.settings import EMASettings, EngineSettings

LEVELS = (0.1, 0.3, 1.0)
BATCH = 16
POINTS = 10


@dataclass(frozen=True)
class Contender:
    """A network and what moves its weights."""

    backbone: BackboneSettings
    optimiser: OptimiserSettings


MONAI = MonaiUNetSettings(channels=(16, 32, 48), attention=(False, False, True))
DDPMPP = DDPMPlusPlusSettings(features=32, multipliers=(1, 2, 2), attention=(False, False, True), residual_blocks=1)
PATCHES = PatchUNetSettings()
ADAM = AdamSettings(learning_rate=1e-3, warmup_images=1000)
MUON = MuonSettings(warmup_images=500)
BASELINE = "monai_unet, adam"
CONTENDERS = {
    BASELINE: Contender(MONAI, ADAM),
    "ddpmpp, adam": Contender(DDPMPP, ADAM),
    "patch_unet, adam": Contender(PATCHES, ADAM),
    "monai_unet, muon": Contender(MONAI, MUON),
    "patch_unet, muon": Contender(PATCHES, MUON),
}


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backbones", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--size", type=int, default=64, choices=[64, 128])
    parser.add_argument("--only", action="append", choices=list(CONTENDERS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = shared_data("brain_t1_axial_oasis")
    train, test = (_images(np.load(source / f"{split}_{options.size}.npz")["images"]) for split in ("train", "test"))
    names = options.only or list(CONTENDERS)
    curves = {name: _race(name, CONTENDERS[name], train, test[::4], options.seconds) for name in names}
    figures = []
    for name, curve in curves.items():
        figures.append(Figure(f"{name}: loss after {options.seconds:.0f} s", curve["points"][-1]["loss"]))
        target = curves.get(BASELINE, curve)["points"][-1]["loss"]
        seconds = time_to(curve["points"], target)
        if name != BASELINE and seconds is not None:
            bound = 2.0 if name == "patch_unet, muon" else None
            figures.append(Figure(f"{name}: {BASELINE}'s loss sooner by", options.seconds / seconds, bound, False))
    return conclude(f"backbones-{options.size}", figures, {"curves": curves})


def time_to(points: list[dict[str, float]], loss: float) -> float | None:
    """Return the seconds after which a curve first has this loss, between two of its points; None: it never has."""
    for before, after in zip([{"seconds": 0.0, "loss": float("inf")}, *points[:-1]], points, strict=True):
        if after["loss"] <= loss:
            share = (
                1.0 if before["loss"] == float("inf") else (before["loss"] - loss) / (before["loss"] - after["loss"])
            )
            return before["seconds"] + share * (after["seconds"] - before["seconds"])
    return None


def _images(stored: np.ndarray) -> Tensor:
    return torch.from_numpy(stored).float().div(255)[:, None]


def _race(name: str, contender: Contender, train: Tensor, test: Tensor, seconds: float) -> dict[str, Any]:
    """Train for ``seconds`` and return the curve of held-out errors."""
    diffusion = DiffusionSettings(sigma_data=float(train.std()), hidden_std=0.0)
    denoiser = build_denoiser(contender.backbone, diffusion, 1, 0, generator_for(0, "weights"))
    ways = candidates("auto", EngineSettings(), torch.device("cpu"))
    way = fastest(try_each(ways, denoiser, train[:BATCH]))
    denoiser = build_denoiser(contender.backbone, diffusion, 1, 0, generator_for(0, "weights"), compute_options=way)
    print(f"{name}: {count_parameters(denoiser) / 1e6:.2f} M weights, {way}", flush=True)
    optimiser = contender.optimiser.build(denoiser)
    ema = EMA(denoiser, EMASettings(half_life=2000, ramp_up=0.1))
    draws = generator_for(0, "race")
    spent, images = 0.0, 0
    points: list[dict[str, float]] = []
    while spent < seconds:
        began = time.process_time()
        clean = train[torch.randint(len(train), (BATCH,), generator=draws)]
        sigma = torch.exp(1.2 * torch.randn(BATCH, generator=draws) - 1.2)
        noisy = clean + sigma[:, None, None, None] * torch.randn(clean.shape, generator=draws)
        error = (denoiser(noisy, sigma) - clean).square().flatten(1).mean(1)
        torch.autograd.backward((denoiser.weight(sigma) * error).mean())
        take_step(denoiser, optimiser, contender.optimiser, images, sys.maxsize)
        images += BATCH
        ema.update(denoiser, images, BATCH)
        spent += time.process_time() - began
        if spent >= seconds * (len(points) + 1) / POINTS:
            points.append({"seconds": spent, "images": images} | _errors(ema.module, test))
            print(f"  {spent:.0f} s, {images:,} images: loss {points[-1]['loss']:.4f}", flush=True)
    return {"parameters": count_parameters(denoiser), "computed": str(way), "points": points}


@torch.no_grad()
def _errors(denoiser: Denoiser, test: Tensor) -> dict[str, float]:
    errors, loss = {}, 0.0
    for level in LEVELS:
        noise = torch.randn(test.shape, generator=generator_for(0, "held out", str(level)))
        sigma = torch.full((len(test),), level)
        parts = zip((test + level * noise).split(32), test.split(32), sigma.split(32), strict=True)
        total = sum(float((denoiser(noisy, at) - clean).square().sum()) for noisy, clean, at in parts)
        errors[f"error at {level:g}"] = total / test.numel()
        loss += float(denoiser.weight(sigma[:1])) * errors[f"error at {level:g}"] / len(LEVELS)
    return errors | {"loss": loss}


if __name__ == "__main__":
    sys.exit(main())
