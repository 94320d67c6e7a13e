"""L1-wavelet reconstructions of a task's measurements, as clean images for EDM (L1-EDM, arXiv 2403.08728)."""

from pathlib import Path

import numpy as np
import torch

from benchmarks.methods.bench import Bench
from rsd_med.base.files import written_aside
from rsd_med.base.randomness import generator_for
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.training.batches import load_batch

BATCH = 64


def reconstruct_all(bench: Bench) -> Path:
    """Reconstruct every measurement once; return the file of complex images, ``(n, y, x)``."""
    path = bench.folder / "l1_wavelet.npy"
    if not path.exists():
        experiment, solver = bench.own, L1WaveletSettings().build()
        images = []
        for start in range(0, len(experiment.dataset), BATCH):
            indices = list(range(start, min(start + BATCH, len(experiment.dataset))))
            batch = load_batch(experiment.dataset, indices, experiment.device)
            found = solver.solve(batch, generator_for(bench.seed, "l1_wavelet", start), lambda _: None)
            images.append(found[:, 0].cpu())
        with written_aside(path) as side:
            np.save(side, torch.cat(images).numpy())
    return path.resolve()
