"""Draw images with the networks of this bundle. Needs torch and numpy; `configs/inference.json` calls it."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

BATCH = 16


def run(
    network: Any,
    drawing: str,
    shape: Sequence[int],
    num: int,
    seed: int,
    device: str,
    conditions: dict[str, Tensor],
    output: str,
    steps: int = 18,
) -> None:
    """Draw ``num`` images and write them to ``output/samples.npy``, float32 ``(num, channel, y, x)``.

    Parameters
    ----------
    network
        What the bundle's model file holds.
    drawing
        ``one_step``: numbers to images in one call; ``heun``: a walk from noise to images.
    shape
        (channel, y, x).
    num, seed
        How many images, and which.
    device
        Where to compute: ``cpu``, ``cuda`` …
    conditions
        Masks (and coil maps) that the network is shown images through; each image takes one of them at random.
    output
        Folder to write to.
    steps
        Levels of the walk; 2 steps − 1 calls for an image.
    """
    generator = torch.Generator().manual_seed(seed)
    images = []
    with torch.no_grad():
        for start in range(0, num, BATCH):
            items = min(BATCH, num - start)
            noise = torch.randn(items, *shape, generator=generator).to(device)
            count = len(next(iter(conditions.values()))) if conditions else 1
            chosen = torch.randint(count, (items,), generator=generator)
            shown = [tensor[chosen].to(device) for tensor in conditions.values()]
            drawn = network(noise, *shown) if drawing == "one_step" else heun(network, noise, shown, steps)
            images.append(drawn.float().cpu())
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "samples.npy", torch.cat(images).numpy())
    print(f"{num} images: {folder / 'samples.npy'}")


def heun(network: Any, noise: Tensor, shown: Sequence[Tensor], steps: int = 18) -> Tensor:
    """Walk from noise to images by Heun's method (EDM, arXiv 2206.00364, algorithm 1 without churn).

    Parameters
    ----------
    network
        Takes noisy images, their levels, and ``shown``.
    noise
        Standard normal, ``(b, channel, y, x)``.
    shown
        What the network is shown images through.
    steps
        Levels, from 80 down to 0.002 (equation 5 with ρ = 7).
    """
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    levels = [*((80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7).tolist(), 0.0]
    x = levels[0] * noise
    for here, there in pairwise(levels):
        slope = (x - network(x, torch.full_like(x[:, 0, 0, 0], here), *shown)) / here
        ahead = x + (there - here) * slope
        if there > 0:
            second = (ahead - network(ahead, torch.full_like(x[:, 0, 0, 0], there), *shown)) / there
            ahead = x + (there - here) * (slope + second) / 2
        x = ahead
    return x
