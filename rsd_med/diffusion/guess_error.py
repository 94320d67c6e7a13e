"""How far a guess is likely to be off, pixel by pixel: its weight beside the data, and the spread of draws."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, silu

from rsd_med.base.randomness import generator_for, weights_from

NEIGHBOURHOOD = 5
"""Side of the square whose mean power tells how bright it is about a pixel, in pixels."""

FLOOR, DARK, SHARE = 0.015, 0.02, 0.2
"""First values: w where σ is unknown; how far a guess errs in the dark; and which share of its brightness elsewhere."""

COARSE = 0.5
"""Coarse errors begin as so large a part of fine ones."""

SPEED = 10.0
"""The logarithms are learned so many times faster than other weights, whose steps are small for them."""

WIDTH = 24
"""Channels of the small network."""

REACH = 3.0
"""The network changes the error by a factor between ``exp(-REACH)`` and ``exp(REACH)``."""

LATENTS = 4
"""Channels of the noise z that a draw is made of: real and imaginary part of fine and of coarse errors."""

SMALLEST = 1e-4
"""Powers count as at least its square before their logarithm is taken."""


@dataclass(frozen=True)
class Spread:
    """How far a guess may be off: standard deviations per real component.

    Attributes
    ----------
    fine
        Of errors that are independent from pixel to pixel, ``(b, 1, y, x)``.
    coarse
        Of errors that neighbours share, `NEIGHBOURHOOD` pixels wide, likewise.
    """

    fine: Tensor
    coarse: Tensor

    def variance(self) -> Tensor:
        """Return the variance of both together, ``(b, 1, y, x)``."""
        return self.fine.square() + self.coarse.square()

    def drawn(self, noise: Tensor) -> Tensor:
        """Return errors ``(b draws, 2, y, x)`` of z, standard normal, ``(b, draws, LATENTS, y, x)``."""
        fine, coarse = (each.repeat_interleave(noise.shape[1], 0) for each in (self.fine, self.coarse))
        z = noise.flatten(0, 1)
        # A mean of n independent numbers has 1/√n of their deviation.
        return fine * z[:, :2] + coarse * (NEIGHBOURHOOD * _mean(z[:, 2:]))


class GuessError(nn.Module):
    """The standard deviation of a guess's error at pixel p, per real component, learned.

    It is a model and a correction: ``s² = (τ² + κ² |guess|²) e^{2 c}``. τ is the error in the dark, κ its share of the
    brightness (the guess's mean power in a small square). c comes from a small network, that sees where edges are, and
    what the zero-filled image has beside the guess: folded edges are where a guess errs. At first c is 0. There are two
    such: of fine errors, and of coarse ones, which begin as half as large.

    Two things follow of a Gaussian prior of this width about the guess. The weight of the guess beside the data is
    ``w = f + σ² / s²``, the variance of the noise divided by that of the prior; so the guess stays where there is air,
    and noise of the measured lines does not come back there. And draws differ by errors of this size before the data
    step takes away those of what was measured. f, the floor, is for what else is wrong: coil maps, an unknown σ.
    """

    def __init__(self) -> None:
        super().__init__()
        self.floor = nn.Parameter(torch.tensor(FLOOR).log() / SPEED)
        self.dark = nn.Parameter(torch.tensor(DARK).log() / SPEED)
        self.share = nn.Parameter(torch.tensor(SHARE).log() / SPEED)
        with weights_from(generator_for(0, "expected error")):  # the same in every run: at first they change nothing
            self.first = nn.Conv2d(6, WIDTH, 3, padding=1)
            self.second = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
            self.last = nn.Conv2d(WIDTH, 2, 3, padding=1)
        with torch.no_grad():
            for parameter in self.last.parameters():
                parameter.zero_()

    def forward(self, guess: Tensor, zero_filled: Tensor, mask: Tensor, sigma: Tensor) -> Spread:
        """Return how far the guess may be off.

        Parameters
        ----------
        guess, zero_filled
            Real and imaginary part, ``(b, 2, y, x)``. No gradient reaches them.
        mask
            Of the scan, ``(b, 1, y, x)`` float32.
        sigma
            Of its noise, ``(b, 1, 1, 1)``; 0 where it is not known.

        Returns
        -------
        Spread
            Positive.
        """
        guess, zero_filled = guess.detach(), zero_filled.detach()
        power = guess.square().sum(1, keepdim=True)
        around = _mean(power)
        folded = (zero_filled - guess).square().sum(1, keepdim=True)
        share = mask.mean((-2, -1), keepdim=True).expand_as(power)
        noise = _logarithm(sigma.square()).expand_as(power)
        parts = [*(_logarithm(one) for one in (power, around, _steepness(guess), folded)), noise, share]
        correction = self.last(silu(self.second(silu(self.first(torch.cat(parts, 1))))))
        dark, bright = ((SPEED * one).exp() for one in (self.dark, self.share))
        model = (dark.square() + bright.square() * around).sqrt()
        fine, coarse = (model * (REACH * torch.tanh(c / REACH)).exp() for c in correction.split(1, 1))
        return Spread(fine, COARSE * coarse)

    def weight(self, error: Spread, sigma: Tensor) -> Tensor:
        """Return w, ``(b, 1, y, x)``, positive, of the error and of σ ``(b, 1, 1, 1)``."""
        return (SPEED * self.floor).exp() + sigma.square() / error.variance()


def _mean(image: Tensor) -> Tensor:
    """Return the mean about each pixel; of fewer pixels at the border."""
    return avg_pool2d(image, NEIGHBOURHOOD, stride=1, padding=NEIGHBOURHOOD // 2, count_include_pad=False)


def _steepness(image: Tensor) -> Tensor:
    """Return how much pixels differ from those about them: their variance in squares of 3 x 3, ``(b, 1, y, x)``."""
    mean, power = (avg_pool2d(one, 3, stride=1, padding=1, count_include_pad=False) for one in (image, image.square()))
    return (power - mean.square()).clamp_min(0).sum(1, keepdim=True)


def _logarithm(power: Tensor) -> Tensor:
    """Return the logarithm of a power, about -1 to 1 for amplitudes of 1e-4 to 1."""
    return (power + SMALLEST**2).log10() / 4 + 1
