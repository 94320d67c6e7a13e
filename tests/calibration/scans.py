"""Simulated scans whose noise and coil maps are known."""

import torch

from rsd_med.base.draws import Draws
from rsd_med.data.coils import birdcage_maps, smooth_phase
from rsd_med.operators.fourier import fft2c


def draws(seed=0):
    return Draws().manual_seed(seed)


def complex_noise(*shape, seed=0):
    """Complex noise of σ = 1 per real component."""
    return torch.view_as_complex(torch.randn(*shape, 2, generator=draws(seed)))


def mixing(coils, seed=1):
    """How the noise of one coil gets into others."""
    return torch.eye(coils, dtype=torch.complex64) + 0.25 * complex_noise(coils, coils, seed=seed)


def head(coils, shape, seed=3):
    """Coil maps and k-space without noise of a disc with structure and a soft rim; white is about 1."""
    generator = draws(seed)
    maps = birdcage_maps(coils, shape, generator)
    y, x = torch.meshgrid(torch.linspace(-1, 1, shape[0]), torch.linspace(-1, 1, shape[1]), indexing="ij")
    disc = torch.sigmoid((0.7 - (y**2 + x**2).sqrt()) * min(shape))
    magnitude = disc * (1 + 0.3 * torch.cos(9 * x) * torch.cos(7 * y)) / 1.3
    return maps, fft2c(maps * torch.polar(magnitude, smooth_phase(shape, generator, amplitude=0.5)))


def noisy(kspace, sigma, mix=None, seed=2):
    """K-space with noise of σ per real component in every source, and the covariance of its coils."""
    coils = kspace.shape[0]
    mix = torch.eye(coils, dtype=torch.complex64) if mix is None else mix
    noise = sigma * complex_noise(coils, kspace[0].numel(), seed=seed)
    return kspace + (mix @ noise).reshape(kspace.shape), 2 * sigma**2 * mix @ mix.mH
