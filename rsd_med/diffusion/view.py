"""What a network is shown of an image, and how to ask it about one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from rsd_med.diffusion.denoiser import Denoiser


def _as_is(x: torch.Tensor) -> torch.Tensor:
    return x


@dataclass(frozen=True)
class View:
    """A fixed way of showing images to a network.

    Attributes
    ----------
    project
        Maps an image ``(b, channels, y, x)`` to the network's input: the identity, or ``Ã^H Ã``.
    context
        Channels that tell the network about that projection, ``(b, context_channels, y, x)``, or None.
    """

    project: Callable[[torch.Tensor], torch.Tensor] = _as_is
    context: torch.Tensor | None = None

    def denoise(self, denoiser: Denoiser, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Ask ``denoiser`` for the clean image behind the noisy image ``x`` at level ``sigma`` ``(b,)``."""
        estimate: torch.Tensor = denoiser(self.project(x), sigma, self.context)
        return estimate
