"""What both ways of using a student share: its generator, and a few Adam steps on latents."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.samplers import one_step
from rsd_med.diffusion.view import View
from rsd_med.inverse.prior import Prior
from rsd_med.operators.channels import to_channels, to_complex


@dataclass(frozen=True)
class Generator:
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
        assert self.prior.sigma_init is not None
        return to_complex(one_step(self.prior.denoiser, self.view, latents, self.prior.sigma_init))


def draw_latents(measurement: Measurement, generators: list[torch.Generator]) -> Tensor:
    """Draw standard normal latents, one for each generator: ``(b, 2, y, x)``."""
    shape = to_channels(measurement.image()).shape[1:]
    drawn = [torch.randn(shape, generator=generator, device=generator.device) for generator in generators]
    return torch.stack(drawn).to(measurement.data.device)


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
