"""Radial scans of a phantom, simulated by sigpy, so that the oracle is not ours."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import sigpy
import sigpy.mri
import torch

from rsd_med.operators.trajectories import radial_trajectory


class Radial(NamedTuple):
    """Samples (coil, shot, sample), positions (shot, sample, 2) in cycles per field of view, maps and image (y, x)."""

    kspace: np.ndarray
    trajectory: np.ndarray
    maps: np.ndarray
    image: np.ndarray

    def noise(self, samples: int, sigma: float) -> np.ndarray:
        return white((self.kspace.shape[0], samples), sigma, seed=5)


def white(shape: tuple[int, ...], sigma: float, seed: int) -> np.ndarray:
    draws = np.random.default_rng(seed)
    noise = draws.standard_normal(shape) + 1j * draws.standard_normal(shape)
    return (sigma * noise).astype(np.complex64)


def birdcage(coils: int, size: int) -> np.ndarray:
    """sigpy's birdcage maps, normalised."""
    maps = sigpy.mri.birdcage_maps((coils, size, size)).astype(np.complex64)
    return maps / np.sqrt((np.abs(maps) ** 2).sum(0, keepdims=True))


def phantom(size: int) -> np.ndarray:
    """A soft phantom with a phase: sharp edges would ring in any method."""
    axis = np.linspace(-1, 1, size)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    head = 1 / (1 + np.exp((np.hypot(y / 0.8, x / 0.65) - 1) * 25))
    inside = 0.35 * np.cos(6 * x) * np.cos(5 * y + 1) + 0.3 / (1 + np.exp((np.hypot(y + 0.2, x - 0.2) - 0.18) * 60))
    return (head * (0.6 + inside) * np.exp(1j * (0.8 * x + 0.3 * y))).astype(np.complex64)


def radial_scan(image: np.ndarray, spokes: int, coils: int, sigma: float) -> Radial:
    """Scan an image by sigpy's NUFFT along spokes with twofold readout oversampling."""
    size = len(image)
    maps = birdcage(coils, size)
    trajectory = radial_trajectory(spokes, 2 * size, size).numpy()
    clean = sigpy.mri.linop.Sense(maps, coord=trajectory, ishape=image.shape)(image)
    kspace = (clean + white(clean.shape, sigma, seed=3)).astype(np.complex64)
    return Radial(
        kspace.reshape(coils, spokes, 2 * size), trajectory.reshape(spokes, 2 * size, 2).astype(np.float32), maps, image
    )


def write_npz(path: Path, scan: Radial, **more: np.ndarray) -> Path:
    """Write a scan as plain arrays."""
    matrix = np.array(scan.image.shape)
    np.savez(path, kspace=scan.kspace, trajectory=scan.trajectory, matrix=matrix, **more)
    return path


def psnr(found: torch.Tensor | np.ndarray, image: np.ndarray) -> float:
    """Of magnitudes, against the peak of the true image."""
    error = np.abs(np.asarray(found)) - np.abs(image)
    return float(20 * np.log10(np.abs(image).max() / np.sqrt((error**2).mean())))
