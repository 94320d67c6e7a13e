"""A network that reconstructs: from undersampled k-space and noise to an image drawn from the posterior, unrolled."""

import copy
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.data_weight import DataWeight
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.data_step import data_step
from rsd_med.operators.linear import LinearOperator

LATENTS = 4
"""Channels of the noise z that a draw is made of."""

CONTEXT = 1 + 2 + 1 + LATENTS
"""Channels that the network is given beside ``A^H y``: the mask, the image so far, the noise level, z."""

LEVEL = 0.05
"""The level that the network, which is a denoiser, takes ``A^H y`` for."""

CALIBRATED = 4
"""Numbers of columns for which the spread of draws is calibrated."""

NEW_SHARE = 0.3
"""Weights of inputs that a teacher does not have begin as so large a part of fresh ones."""


class UnrolledNetwork(nn.Module):
    """``R(z; y, A, σ)``: a network and the data in turns, with the same weights in each turn (MoDL, VarNet).

    The image begins as the one nearest to zero that explains the data. In each turn the network, a denoiser, estimates
    the image from ``A^H y``, the mask and the image so far; the data step then restores what was measured
    (`rsd_med.operators.data_step`), the more the less noise there is (`rsd_med.diffusion.data_weight`). All turns but
    the last are shown no noise: they are taken once, however many draws are asked for. Noise z enters in the last turn,
    and each z gives a draw of its own.

    An ambient teacher is such a denoiser, with fewer inputs: its weights are a start (`start_from`).

    Parameters
    ----------
    denoiser
        Of complex images, with `CONTEXT` channels of context.
    turns
        How many.

    Attributes
    ----------
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
        self.data_weight = DataWeight(turns)
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
        sigma = measurement.sigma.to(adjoint.device)
        image = self._explain(torch.zeros_like(adjoint), 0, operator, adjoint, sigma)
        silent = torch.zeros_like(noise[:, 0])
        for turn in range(1, self.turns):
            image = self._turn(image, (mask, silent), turn, operator, adjoint, sigma)
        each = torch.arange(len(adjoint), device=adjoint.device).repeat_interleave(draws)
        last = mask[each], noise.flatten(0, 1)
        image = self._turn(image[each], last, self.turns, operator[each], adjoint[each], sigma[each])
        return image.unflatten(0, (-1, draws))

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
        """Return this network as it is while it learns; see `Denoiser.learning`."""
        learner = copy.copy(self)
        learner._modules = self._modules | {"denoiser": self.denoiser.learning(draws)}
        return learner

    def settled(self) -> Self:
        """Return a copy that does not learn any more; see `Denoiser.settled`."""
        copied = copy.deepcopy(self).requires_grad_(False)
        copied.denoiser = self.denoiser.settled()
        return copied

    @torch.no_grad()
    def start_from(self, teacher: Mapping[str, Tensor]) -> None:
        """Take over the weights of an ambient teacher, whose inputs are the first of this network's.

        Weights of the other inputs stay as they are, made smaller by `NEW_SHARE`; those of the image so far are zero:
        at first every turn says what the teacher says of ``A^H y``.

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

    def _turn(
        self,
        image: Tensor,
        context: tuple[Tensor, Tensor],
        turn: int,
        operator: LinearOperator,
        adjoint: Tensor,
        sigma: Tensor,
    ) -> Tensor:
        mask, noise = context
        level = torch.full((len(image),), LEVEL, device=image.device)
        inputs = [mask, to_channels(image), noise_input(sigma).expand(mask.shape), noise]
        estimate = self.denoiser(to_channels(adjoint), level, torch.cat(inputs, 1))
        return self._explain(to_complex(estimate), turn, operator, adjoint, sigma)

    def _explain(self, guess: Tensor, turn: int, operator: LinearOperator, adjoint: Tensor, sigma: Tensor) -> Tensor:
        power = torch.view_as_real(guess).square().sum(-1)
        return data_step(guess, self.data_weight(power, sigma.reshape(-1, 1, 1, 1), turn), operator, adjoint)


def noise_input(sigma: Tensor) -> Tensor:
    """Return how the network is told the noise level of scans ``(b,)``: ``(b, 1, 1, 1)``, about 0 at 0.01."""
    return (sigma.clamp_min(1e-4).log10() / 2 + 1).reshape(-1, 1, 1, 1)
