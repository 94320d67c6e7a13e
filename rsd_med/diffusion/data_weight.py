"""How much a network's guess counts beside what was measured, pixel by pixel."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

NEIGHBOURHOOD = 5
"""Side of the square whose mean power tells how bright it is about a pixel, in pixels."""

FLOOR, DARK, SHARE = 0.015, 0.02, 0.2
"""First values: w where σ is unknown; how far a guess errs in the dark; and which share of its brightness elsewhere."""

SPEED = 10.0
"""The logarithms are learned so many times faster than other weights, whose steps are small for them."""


class DataWeight(nn.Module):
    """``w = f + σ² / (τ² + κ² |guess|²)``, with f, τ and κ learned.

    This is the weight of a Gaussian prior about the guess, whose standard deviation is τ in the dark and grows with
    brightness (the guess's mean power in a small square about the pixel): w is the variance of the noise divided by
    that of the prior. So the guess stays where there is air, and noise of the measured lines does not come back there.
    f, the floor, is for what is wrong beside noise: coil maps, an unknown σ. Parameters are logarithms over `SPEED`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.floor = nn.Parameter(torch.tensor(FLOOR).log() / SPEED)
        self.dark = nn.Parameter(torch.tensor(DARK).log() / SPEED)
        self.share = nn.Parameter(torch.tensor(SHARE).log() / SPEED)

    def forward(self, power: Tensor, sigma: Tensor) -> Tensor:
        """Return w.

        Parameters
        ----------
        power
            ``|guess|²``, ``(b, 1, y, x)``.
        sigma
            Of the scan's noise, ``(b, 1, 1, 1)``; 0 where it is not known.

        Returns
        -------
        Tensor
            ``(b, 1, y, x)``, positive. No gradient reaches the guess.
        """
        around = avg_pool2d(
            power.detach(), NEIGHBOURHOOD, stride=1, padding=NEIGHBOURHOOD // 2, count_include_pad=False
        )
        floor, dark, share = ((SPEED * one).exp() for one in (self.floor, self.dark, self.share))
        return floor + sigma.square() / (dark.square() + share.square() * around)
