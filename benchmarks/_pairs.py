"""Raw files in pairs: the same slices with noise, for methods, and without, for the truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import succeed

TUNED_ON = 8
"""Slices of the train split on which methods without a prior are tuned."""


def write_pairs(scans: Path, source: Path, images: int, tested: int, shape: Sequence[str], noise: float) -> None:
    """Simulate fully sampled files of slices for tuning and tests, where they are not there yet.

    Parameters
    ----------
    scans
        Folder to fill: ``tune_noisy``, ``tune_clean``, ``test<N>_noisy``, ``test<N>_clean``.
    source
        Folder of ``train_<images>.npz`` and ``test_<images>.npz``.
    images
        Side of the images to take.
    tested
        N, slices of the test split, evenly placed.
    shape
        Options of `rsd_med.simulate` for size and coils.
    noise
        σ of white.
    """
    from rsd_med.simulate import main as simulate

    for split, number, seed in (("train", TUNED_ON, "3"), ("test", tested, "4")):
        every = np.load(source / f"{split}_{images}.npz")["images"]
        few = every[np.linspace(0, len(every) - 1, number).round().astype(int)]
        name = "tune" if split == "train" else f"test{number}"
        np.save(scans / f"{name}.npy", few)
        for kind, sigma in (("noisy", noise), ("clean", 0.0)):
            if not (scans / f"{name}_{kind}").exists():
                place = ["--out", str(scans / f"{name}_{kind}"), *shape, "--fully-sampled", "--seed", seed]
                succeed(simulate, [str(scans / f"{name}.npy"), *place, "--sigma", str(sigma)])
