"""Small multi-coil scans for the tests of solvers, and priors whose posterior is known."""

import torch
from torch import Tensor, nn

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings, NoCorruption
from rsd_med.diffusion.backbones.patch_unet import PatchUNetSettings
from rsd_med.diffusion.compute import ComputeOptions
from rsd_med.diffusion.denoiser import DiffusionSettings, build_denoiser
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.unrolled import CONTEXT, UnrolledNetwork
from rsd_med.diffusion.view import View
from rsd_med.inverse.hidden_lines_score import HiddenLinesScore
from rsd_med.inverse.prior import Amortised, Prior
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.noise import complex_or_real_noise

SIZE = 16


def smooth_maps(coils: int, size: int = SIZE) -> Tensor:
    """Return maps (coil, y, x) with Σ|S|² = 1: Gaussians around the field of view, each with a phase of its own."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    angles = torch.arange(coils) * 2 * torch.pi / coils
    distance = (y - angles.sin()[:, None, None]) ** 2 + (x - angles.cos()[:, None, None]) ** 2
    maps = torch.exp(-distance / 2) * torch.exp(1j * (angles[:, None, None] + x))
    return (maps / maps.abs().square().sum(0).sqrt()).to(torch.complex64)


def columns(*sampled: int, size: int = SIZE) -> Tensor:
    """Return a mask (1, 1, 1, x) of the given columns."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask[list(sampled)] = True
    return mask[None, None, None]


def measure(image: Tensor, mask: Tensor, maps: Tensor, sigma: float, seed: int = 0, name: str = "scene") -> Measurement:
    """Scan an image (1, 1, y, x)."""
    operator = MultiCoilFourier(mask, maps[None])
    clean = operator(image)
    noise = complex_or_real_noise(clean, sigma, generator_for(seed, "noise"))
    return Measurement(
        data=(clean + noise) * mask,
        operator=operator,
        sigma=torch.full((1,), sigma),
        scale=torch.ones(1),
        ids=(name,),
    )


def disc(size: int = SIZE) -> Tensor:
    """Return a bright disc with a dark spot, (1, 1, y, x) complex64."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    image = (y**2 + x**2 < 0.6).float() - 0.5 * ((y - 0.2) ** 2 + x**2 < 0.05).float()
    return (image * torch.exp(0.5j * x))[None, None].to(torch.complex64)


class GaussianDenoiser(nn.Module):
    """The exact denoiser of images whose components are N(0, std²), independent: D(x; σ) = x std² / (std² + σ²)."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std
        self.calls = 0

    def forward(self, x: Tensor, sigma: Tensor, context: Tensor | None = None) -> Tensor:
        self.calls += 1
        return x * (self.std**2 / (self.std**2 + sigma**2)).reshape(-1, 1, 1, 1)


def gaussian_prior(std: float, size: int = SIZE, sigma_init: float | None = None) -> Prior:
    return Prior(
        denoiser=GaussianDenoiser(std),  # type: ignore[arg-type]
        show=lambda operator: View(),
        corruption=NoCorruption(),
        masks=None,
        size=(size, size),
        hides=False,
        few_steps=None if sigma_init is None else FewSteps(sigma_init),
    )


def ambient_prior(size: int = SIZE, sigma_init: float | None = None) -> Prior:
    """A prior that sees Ã^H Ã x, with Ã of its own distribution."""
    corruption = MultiCoilFourierSettings(acceleration=2, acs_lines=4, further_lines=1).build()
    return Prior(
        denoiser=GaussianDenoiser(0.5),  # type: ignore[arg-type]
        show=lambda operator: View(operator.gram),
        corruption=corruption,
        masks=None,
        size=(size, size),
        hides=True,
        few_steps=None if sigma_init is None else FewSteps(sigma_init),
    )


def untrained_reconstructor(size: int = SIZE, options: ComputeOptions | None = None) -> Amortised:
    """A reconstructor with weights drawn by chance."""
    backbone = PatchUNetSettings(channels=(16,), attention=(False,))
    diffusion, draws = DiffusionSettings(hidden_std=0.1), generator_for(0, "weights")
    denoiser = build_denoiser(backbone, diffusion, 2, CONTEXT, draws, compute_options=options)
    for parameter in denoiser.parameters():  # the last layers are zero at first
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    score = HiddenLinesScore(4, 2, 2, ("entries",))
    return Amortised(network=UnrolledNetwork(denoiser, 2).requires_grad_(False), size=(size, size), score=score)


def posterior(measurement: Measurement, std: float) -> tuple[Tensor, Tensor]:
    """Return mean (y, x) and covariance (yx, yx) per real component of x given y, x ~ N(0, std²), in closed form."""
    operator = measurement.operator
    size = operator.maps.shape[-1]
    basis = torch.eye(size * size, dtype=torch.complex64).reshape(-1, 1, size, size)
    gram = MultiCoilFourier(operator.mask[0], operator.maps[0]).normal(basis).reshape(size * size, -1).T
    sigma = float(measurement.sigma[0])
    precision = gram.to(torch.complex128) / sigma**2 + torch.eye(size * size) / std**2
    covariance = torch.linalg.inv(precision)
    mean = covariance @ (measurement.image().flatten().to(torch.complex128) / sigma**2)
    return mean.reshape(size, size), covariance
