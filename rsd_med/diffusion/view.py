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
    compared
        Pixels at which a student loss compares two networks, boolean ``(b, 1, y, x)``; None is all of them.
    """

    project: Callable[[torch.Tensor], torch.Tensor] = _as_is
    context: torch.Tensor | None = None
    compared: torch.Tensor | None = None

    def denoise(self, denoiser: Denoiser, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Ask ``denoiser`` for the clean image behind the noisy image ``x`` at level ``sigma`` ``(b,)``."""
        estimate: torch.Tensor = denoiser(self.project(x), sigma, self.context)
        return estimate

    def restrict(self, gap: torch.Tensor) -> torch.Tensor:
        """Set a difference of images to zero where it is not compared."""
        return gap if self.compared is None else gap.masked_fill(~self.compared, 0)

    def mean(self, gap: torch.Tensor) -> torch.Tensor:
        """Average over channels and the pixels compared: ``(b, channels, y, x)`` to ``(b,)``; 0 if there are none."""
        if self.compared is None:
            return gap.flatten(1).mean(1)
        pixels = self.compared.expand_as(gap).flatten(1).sum(1)
        return self.restrict(gap).flatten(1).sum(1) / pixels.clamp_min(1)
