"""A network that reconstructs: from undersampled k-space and noise to an image drawn from the posterior, unrolled."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from rsd_med.base.devices import sent
from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.guess_error import GuessError
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.data_step import data_step
from rsd_med.operators.linear import LinearOperator

LATENTS = 4
"""Channels of the noise z that a draw is made of."""

CONTEXT = 1 + 2 + 1 + LATENTS
"""Channels that the network is given beside the image so far: the mask, ``A^H y``, the noise level, z."""

LEVEL = 0.05
"""The noise level that the network, which is a denoiser, is told of the image so far."""

CALIBRATED = 4
"""Numbers of columns for which the spread of draws is calibrated."""

NEW_SHARE = 0.3
"""Weights of inputs that a teacher does not have begin as so large a part of fresh ones."""


class UnrolledNetwork(nn.Module):
    """``R(z; y, A, σ)``: a network and the data in turns, with the same weights in each turn (MoDL, VarNet).

    The image begins as ``A^H y``. In each turn the network, a denoiser, estimates the image from the one so far, given
    ``A^H y`` and the mask; the data step then restores what was measured (`rsd_med.operators.data_step`),
    the more the less noise there is (`rsd_med.diffusion.guess_error`). All turns but the last are shown no noise: they
    are taken once, however many draws are asked for. Noise z enters in the last turn; each z gives a draw of its own.
    It enters twice: the network is given it, for errors that have a shape, and its first two channels, times the error
    that is expected of each pixel, are added to the guess: so draws differ where the guess is not sure.

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
            z, standard normal, ``(b, draws, LATENTS, y, x)`` float32; zeros give one estimate.

        Returns
        -------
        Tensor
            ``(b, draws, 1, y, x)`` complex64.
        """
        operator, adjoint, draws = measurement.operator, measurement.image(), noise.shape[1]
        shape = (len(adjoint), 1, *adjoint.shape[-2:])
        mask = operator.entries(measurement.data).to(torch.float32).expand(shape)
        scan = _Scan(operator, adjoint, mask, measurement.sigma.to(adjoint.device))
        silent = torch.zeros_like(noise[:, 0])
        if self.chance is None:
            image = adjoint
            for _ in range(1, self.turns):
                image = self._turn(image, silent, scan)
        else:
            image = self._some_turns(silent, scan, self.chance)
        each = torch.arange(len(adjoint), device=adjoint.device).repeat_interleave(draws)
        return self._turn(image[each], noise.flatten(0, 1), scan[each]).unflatten(0, (-1, draws))

    @torch.no_grad()
    def _some_turns(self, silent: Tensor, scan: "_Scan", chance: Draws) -> Tensor:
        """Take some turns, of each item another number below `turns`, without gradients."""
        image = scan.adjoint.clone()
        before = torch.floor(self.turns * chance.host.uniform(len(image))).to(torch.int64)
        for turn in range(1, self.turns):
            going = sent((before >= turn).nonzero()[:, 0], image.device)
            if len(going):
                image[going] = self._turn(image[going], silent[going], scan[going])
        return image

    def pairs(self, measurement: Measurement, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the estimate without noise and half the differences of draws with noise of opposite sign.

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
        every = self(measurement, torch.cat([torch.zeros_like(noise[:, :1]), noise, -noise], 1))
        count = noise.shape[1]
        return every[:, :1], (every[:, 1 : count + 1] - every[:, count + 1 :]) / 2

    def draw(self, measurement: Measurement, noise: Tensor) -> Tensor:
        """Draw images in pairs around the estimate without noise, with calibrated spread.

        Of n draws, the mean would still have an n-th of their variance; that of pairs is the estimate itself.

        Parameters
        ----------
        measurement
            Of b items.
        noise
            z of each pair, ``(b, pairs, LATENTS, y, x)``.

        Returns
        -------
        Tensor
            ``(b, 2 pairs, 1, y, x)`` complex64, the two of a pair one after the other.
        """
        estimate, gaps = self.pairs(measurement, noise)
        share = measurement.operator.entries(measurement.data).to(torch.float32).mean((-3, -2, -1))
        gaps = self.spread_for(share).reshape(-1, 1, 1, 1, 1) * gaps
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

    def _turn(self, image: Tensor, noise: Tensor, scan: "_Scan") -> Tensor:
        level = torch.full((len(image),), LEVEL, device=image.device)
        noise_level = noise_input(scan.sigma).expand(scan.mask.shape)
        zero_filled, sigma = to_channels(scan.adjoint), scan.sigma.reshape(-1, 1, 1, 1)
        guess = self.denoiser(to_channels(image), level, torch.cat([scan.mask, zero_filled, noise_level, noise], 1))
        error = self.guess_error(guess, zero_filled, scan.mask, sigma)
        drawn = to_complex(guess + error * noise[:, :2])
        return data_step(drawn, self.guess_error.weight(error, sigma), scan.operator, scan.adjoint)


@dataclass(frozen=True)
class _Scan:
    """What every turn is given of some scans."""

    operator: LinearOperator
    adjoint: Tensor
    mask: Tensor
    sigma: Tensor

    def __getitem__(self, items: Tensor) -> "_Scan":
        return _Scan(self.operator[items], self.adjoint[items], self.mask[items], self.sigma[items])


def noise_input(sigma: Tensor) -> Tensor:
    """Return how the network is told the noise level of scans ``(b,)``: ``(b, 1, 1, 1)``, about 0 at 0.01."""
    return (sigma.clamp_min(1e-4).log10() / 2 + 1).reshape(-1, 1, 1, 1)
