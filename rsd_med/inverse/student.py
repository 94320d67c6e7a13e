"""What both ways of using a student share: its generator, and a few Adam steps on latents."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.view import View
from rsd_med.inverse.prior import Prior
from rsd_med.inverse.proximal import data_proximal
from rsd_med.operators.channels import to_channels, to_complex

START_STD = 0.3
"""Standard deviation of images per real component, in scaled units, for the least-squares image of the start."""


@dataclass(frozen=True)
class StudentGenerator:
    """The student under one view: from latents to images.

    Attributes
    ----------
    prior
        A student.
    view
        How it is shown its latents, held fixed.
    """

    prior: Prior
    view: View

    def __call__(self, latents: Tensor) -> Tensor:
        """Generate ``(b, 1, y, x)`` complex64 from latents ``(b, 2, y, x)``; gradients pass."""
        assert self.prior.few_steps is not None
        return to_complex(self.prior.few_steps(self.prior.denoiser, self.view, latents))


def draw_latents(measurement: Measurement, prior: Prior, generators: list[Draws]) -> Tensor:
    """Draw where the search starts: standard normal latents that already hold what least squares knows.

    The generator grew out of a denoiser at noise level σ_init, and still turns ``x + σ_init n`` into an image like x.
    The latents that belong to it are ``x / σ_init + n``, with x the regularised least-squares image and a fresh n for
    each generator; ``x / σ_init`` is small beside n, so that they remain likely.

    Returns
    -------
    Tensor
        ``(b, 2, y, x)`` float32.
    """
    assert prior.few_steps is not None
    variance = torch.full((1, 1, 1, 1), START_STD**2, device=measurement.data.device)
    known = to_channels(data_proximal(torch.zeros_like(measurement.image()), variance, measurement))
    drawn = [generator.normal(*known.shape[1:]) for generator in generators]
    return torch.stack(drawn).to(known.device) + known / prior.few_steps.sigma_init


class LatentSearch:
    """Adam on latents, with its state kept from call to call.

    Parameters
    ----------
    latents
        Where to start, ``(b, 2, y, x)``; the items are independent.
    rate
        Step length.
    """

    def __init__(self, latents: Tensor, rate: float) -> None:
        self.latents = latents.clone().requires_grad_(True)
        self.optimiser = torch.optim.Adam([self.latents], lr=rate, betas=(0.9, 0.99))

    def step(self, misfit: Callable[[Tensor], Tensor]) -> None:
        """Descend ``misfit(z) + ½ ‖z‖²``, the negative logarithm of the latents' posterior, once.

        The energy is taken per pixel, so that the step does not depend on the size of the image.
        """
        self.optimiser.zero_grad()
        energy = misfit(self.latents) + self.latents.square().sum() / 2
        # Only the latents: the network's weights take no gradient.
        (self.latents.grad,) = torch.autograd.grad(energy / self.latents[0].numel(), self.latents)
        self.optimiser.step()

    @property
    def found(self) -> Tensor:
        """The latents so far."""
        return self.latents.detach()
