"""How much a network's guess counts beside what was measured, pixel by pixel."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

NEIGHBOURHOOD = 5
"""Side of the square whose mean power tells how bright it is about a pixel, in pixels."""

FLOOR, DARK, SHARE = 0.015, 0.02, 0.2
"""First values: w where σ is unknown; how far a guess errs in the dark; and which share of its brightness elsewhere."""

ZERO_ERRS = 0.5
"""The first guess of all is zero; so far it is from an image, in scaled units."""


SPEED = 10.0
"""The logarithms are learned so many times faster than other weights, whose steps are small for them."""


class DataWeight(nn.Module):
    """``w = f + σ² / (τ² + κ² |guess|²)`` for each turn, with f, τ and κ learned.

    This is the weight of a Gaussian prior about the guess, whose standard deviation is τ in the dark and grows with
    brightness (the guess's mean power in a small square about the pixel): w is the variance of the noise divided by
    that of the prior. So the guess stays where there is air, and noise of the measured lines does not come back there.
    f, the floor, is for what is wrong beside noise: coil maps, an unknown σ. Parameters are logarithms over `SPEED`.

    Parameters
    ----------
    turns
        How many guesses there are; that of turn 0 is zero.
    """

    def __init__(self, turns: int) -> None:
        super().__init__()
        dark = torch.full((turns + 1,), DARK)
        dark[0] = ZERO_ERRS
        self.floor = nn.Parameter(torch.full((turns + 1,), FLOOR).log() / SPEED)
        self.dark = nn.Parameter(dark.log() / SPEED)
        self.share = nn.Parameter(torch.full((turns + 1,), SHARE).log() / SPEED)

    def forward(self, power: Tensor, sigma: Tensor, turn: int) -> Tensor:
        """Return w.

        Parameters
        ----------
        power
            ``|guess|²``, ``(b, 1, y, x)``.
        sigma
            Of the scan's noise, ``(b, 1, 1, 1)``; 0 where it is not known.
        turn
            Whose guess it is.

        Returns
        -------
        Tensor
            ``(b, 1, y, x)``, positive. No gradient reaches the guess.
        """
        around = avg_pool2d(
            power.detach(), NEIGHBOURHOOD, stride=1, padding=NEIGHBOURHOOD // 2, count_include_pad=False
        )
        floor, dark, share = ((SPEED * one[turn]).exp() for one in (self.floor, self.dark, self.share))
        return floor + sigma.square() / (dark.square() + share.square() * around)
