"""A network that reconstructs: from undersampled k-space and noise to an image drawn from the posterior, unrolled."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from rsd_med.base.devices import sent
from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.guess_error import GuessError, Spread
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.data_step import ITERATIONS, data_step
from rsd_med.operators.linear import LinearOperator

CONTEXT = 1 + 2 + 1
"""Channels that the network is given beside the image so far: the mask, ``A^H y``, the noise level."""

LEVEL = 0.05
"""The noise level that the network, which is a denoiser, is told of the image so far."""

CALIBRATED = 4
"""Numbers of columns for which the spread of draws is calibrated."""

SETTLED_ITERATIONS = 24
"""Of conjugate gradients for an image once the network has learned: a third of a decibel for a tenth of the time."""

GAP_ITERATIONS = 8
"""Of conjugate gradients for the differences of draws, which need not be as exact as the image."""

NEW_SHARE = 0.3
"""Weights of inputs that a teacher does not have begin as so large a part of fresh ones."""


class UnrolledNetwork(nn.Module):
    """``R(z; y, A, σ)``: a network and the data in turns, with the same weights in each turn (MoDL, VarNet).

    The image begins as ``A^H y``. In each turn the network, a denoiser, estimates the image from the one so far, given
    ``A^H y`` and the mask; the data step then restores what was measured (`rsd_med.operators.data_step`),
    the more the less noise there is. Noise z enters before the last data step: as errors of the size that is expected
    of each pixel (`rsd_med.diffusion.guess_error`), of which the data step leaves what was not measured. So the network
    is asked once for each turn, however many draws are wanted.

    While it learns, the turns before the last are fewer, by chance, and no gradient passes through them: so every turn
    learns to make the most of what the turns before leave, at the price of one.

    The network is a denoiser with a teacher's inputs and more: a teacher's weights are a start (`start_from`).

    Parameters
    ----------
    denoiser
        Of complex images, with `CONTEXT` channels of context.
    turns
        How many.

    Attributes
    ----------
    chance
        While it learns, what the number of turns is drawn from.
    shown_shares, spreads
        By how much draws are to differ, in multiples of what the network says, for shares of k-space's columns that are
        measured, ``(CALIBRATED,)`` both, the shares rising; 1 until it is calibrated (`draw`).
    """

    shown_shares: Tensor
    spreads: Tensor

    def __init__(self, denoiser: Denoiser, turns: int) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.turns = turns
        self.guess_error = GuessError()
        self.chance: Draws | None = None
        self.register_buffer("shown_shares", torch.linspace(0.1, 1.0, CALIBRATED))
        self.register_buffer("spreads", torch.ones(CALIBRATED))

    def forward(self, measurement: Measurement, noise: Tensor) -> Tensor:
        """Draw images.

        Parameters
        ----------
        measurement
            Of b items, with one set of coil maps.
        noise
            z, standard normal, ``(b, draws, LATENTS, y, x)`` float32; zeros give the estimate.

        Returns
        -------
        Tensor
            ``(b, draws, 1, y, x)`` complex64.
        """
        scan, last = self._last_turn(measurement)
        count = noise.shape[1]
        each = torch.arange(len(last.guess), device=noise.device).repeat_interleave(count)
        drawn = last.guess[each] + last.spread(noise)
        return _restored(drawn, last.weight[each], scan[each], self._iterations()).unflatten(0, (-1, count))

    def _last_turn(self, measurement: Measurement) -> tuple["_Scan", "_Guess"]:
        """Take all turns; return the last one's guess before its data step."""
        operator, adjoint = measurement.operator, measurement.image()
        shape = (len(adjoint), 1, *adjoint.shape[-2:])
        mask = operator.entries(measurement.data).to(torch.float32).expand(shape)
        scan = _Scan(operator, adjoint, mask, measurement.sigma.to(adjoint.device))
        if self.chance is None:
            image = adjoint
            for _ in range(1, self.turns):
                image = self._turn(image, scan)
        else:
            image = self._some_turns(scan, self.chance)
        return scan, self._guess(image, scan)

    @torch.no_grad()
    def _some_turns(self, scan: "_Scan", chance: Draws) -> Tensor:
        """Take some turns, of each item another number below `turns`, without gradients."""
        image = scan.adjoint.clone()
        before = torch.floor(self.turns * chance.host.uniform(len(image))).to(torch.int64)
        for turn in range(1, self.turns):
            going = sent((before >= turn).nonzero()[:, 0], image.device)
            if len(going):
                image[going] = self._turn(image[going], scan[going])
        return image

    def pairs(self, measurement: Measurement, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the estimate without noise, and by how much draws differ from it.

        The data step is linear: the two are solved for apart.

        Parameters
        ----------
        measurement
            Of b items.
        noise
            z of each pair, ``(b, pairs, LATENTS, y, x)``.

        Returns
        -------
        tuple of Tensor
            ``(b, 1, 1, y, x)`` and ``(b, pairs, 1, y, x)`` complex64.
        """
        scan, last = self._last_turn(measurement)
        count = noise.shape[1]
        estimate = _restored(last.guess, last.weight, scan, self._iterations())
        each = torch.arange(len(estimate), device=noise.device).repeat_interleave(count)
        silent = replace(scan[each], adjoint=torch.zeros_like(scan.adjoint)[each])
        gaps = _restored(last.spread(noise), last.weight[each], silent, GAP_ITERATIONS)
        return estimate[:, None], gaps.unflatten(0, (-1, count))

    def draw(self, measurement: Measurement, noise: Tensor, least_spread: float = 0.0) -> Tensor:
        """Draw images in pairs around the estimate without noise, with calibrated spread.

        Of n draws, the mean would still have an n-th of their variance; that of pairs is the estimate itself.

        Parameters
        ----------
        measurement
            Of b items.
        noise
            z of each pair, ``(b, pairs, LATENTS, y, x)``.
        least_spread
            By how much draws differ at least, in multiples of what the network says.

        Returns
        -------
        Tensor
            ``(b, 2 pairs, 1, y, x)`` complex64, the two of a pair one after the other.
        """
        estimate, gaps = self.pairs(measurement, noise)
        share = measurement.operator.entries(measurement.data).to(torch.float32).mean((-3, -2, -1))
        gaps = self.spread_for(share).clamp_min(least_spread).reshape(-1, 1, 1, 1, 1) * gaps
        return torch.stack([estimate + gaps, estimate - gaps], 2).flatten(1, 2)

    def spread_for(self, share: Tensor) -> Tensor:
        """Return by how much draws are to differ where so large shares of columns are measured: interpolated, ``(b,)``.

        Written without a search, for programs that have none.
        """
        low, high = self.shown_shares[:-1], self.shown_shares[1:]
        parts = ((share[:, None] - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
        return self.spreads[0] + (parts * (self.spreads[1:] - self.spreads[:-1])).sum(1)

    def learning(self, draws: Draws) -> Self:
        """Return this network as it is while it learns: the same weights, its turns drawn from ``draws``.

        It learns without dropout. Draws that differ by it would be scored for a spread that they do not have later.
        """
        learner = copy.copy(self)
        learner.chance = draws
        return learner

    def settled(self) -> Self:
        """Return a copy that does not learn any more; see `Denoiser.settled`."""
        copied = copy.deepcopy(self).requires_grad_(False)
        copied.denoiser = self.denoiser.settled()
        return copied

    @torch.no_grad()
    def start_from(self, teacher: Mapping[str, Tensor]) -> None:
        """Take over the weights of an ambient teacher, whose inputs are the first of this network's.

        Weights of the other inputs stay as they are, made smaller by `NEW_SHARE`; those of ``A^H y``, which the teacher
        is given as its image, are zero: at first a turn says what the teacher says of the image so far.

        Parameters
        ----------
        teacher
            The state of its denoiser; see ``state_dict``.

        Raises
        ------
        ValueError
            If it is another network.
        """
        own = self.denoiser.state_dict()
        if own.keys() != teacher.keys():
            raise ValueError("its network is another")
        for name, weights in teacher.items():
            target = own[name]
            if target.shape == weights.shape:
                target.copy_(weights)
                continue
            if target.shape[0] != weights.shape[0] or target.shape[2:] != weights.shape[2:]:
                raise ValueError(f"its {name} has the shape {tuple(weights.shape)}, not {tuple(target.shape)}")
            shared, per_channel = weights.shape[1], target.shape[1] // (2 + CONTEXT)
            target[:, :shared] = weights
            target[:, shared : shared + 2 * per_channel] = 0
            target[:, shared + 2 * per_channel :] *= NEW_SHARE

    def _turn(self, image: Tensor, scan: "_Scan") -> Tensor:
        last = self._guess(image, scan)
        return _restored(last.guess, last.weight, scan, self._iterations())

    def _iterations(self) -> int:
        return SETTLED_ITERATIONS if self.chance is None else ITERATIONS

    def _guess(self, image: Tensor, scan: "_Scan") -> "_Guess":
        level = torch.full((len(image),), LEVEL, device=image.device)
        zero_filled, sigma = to_channels(scan.adjoint), scan.sigma.reshape(-1, 1, 1, 1)
        context = torch.cat([scan.mask, zero_filled, noise_input(scan.sigma).expand(scan.mask.shape)], 1)
        guess = self.denoiser(to_channels(image), level, context)
        spread = self.guess_error(guess, zero_filled, scan.mask, sigma)
        return _Guess(to_complex(guess), spread, self.guess_error.weight(spread, sigma))


@dataclass(frozen=True)
class _Scan:
    """What every turn is given of some scans."""

    operator: LinearOperator
    adjoint: Tensor
    mask: Tensor
    sigma: Tensor

    def __getitem__(self, items: Tensor) -> "_Scan":
        return _Scan(self.operator[items], self.adjoint[items], self.mask[items], self.sigma[items])


@dataclass(frozen=True)
class _Guess:
    """What a turn's network says: the image, how far it may be off, and its weight beside the data."""

    guess: Tensor
    error: Spread
    weight: Tensor

    def spread(self, noise: Tensor) -> Tensor:
        """Return errors that the guess may have, of z ``(b, draws, LATENTS, y, x)``: ``(b draws, 1, y, x)``."""
        return to_complex(self.error.drawn(noise))


def _restored(guess: Tensor, weight: Tensor, scan: _Scan, iterations: int) -> Tensor:
    return data_step(guess, weight, scan.operator, scan.adjoint, iterations)


def noise_input(sigma: Tensor) -> Tensor:
    """Return how the network is told the noise level of scans ``(b,)``: ``(b, 1, 1, 1)``, about 0 at 0.01."""
    return (sigma.clamp_min(1e-4).log10() / 2 + 1).reshape(-1, 1, 1, 1)
