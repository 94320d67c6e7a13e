"""How well a network that reconstructs predicts measured lines that it is not shown."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.unrolled import LATENTS
from rsd_med.metrics.energy_score import Group, energy_score
from rsd_med.operators.masks import sparser_masks
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.noise import complex_or_real_noise


@dataclass(frozen=True)
class HiddenLinesScore:
    """The energy score of hidden lines, measurement noise included.

    Attributes
    ----------
    central, least_central
        Central columns of a measurement, and how many of them are shown at least.
    draws
        Images drawn of each measurement; 1: one estimate without noise.
    groups
        What is compared as one vector.
    shares
        Of the other measured columns, so many are shown at least and at most.
    """

    central: int
    least_central: int
    draws: int
    groups: tuple[Group, ...]
    shares: tuple[float, float] = (0.2, 0.95)

    def __call__(self, network: nn.Module, batch: Measurement, draws: Draws) -> tuple[Tensor, Tensor]:
        """Hide lines of each measurement, draw images from the others, score them.

        Parameters
        ----------
        network
            An `UnrolledNetwork`.
        batch
            Measurements of whole columns of k-space.
        draws
            For lines, images and noise.

        Returns
        -------
        tuple of Tensor
            The score of each item ``(b,)``, and its images ``(b, draws, 1, y, x)`` complex64.
        """
        shown, hidden = self.parted(batch, draws)
        noise = draws.normal(len(batch), self.draws, LATENTS, *batch.size).to(batch.device)
        images = network(shown, noise if self.draws > 1 else 0 * noise)
        each = torch.arange(len(batch), device=batch.device).repeat_interleave(self.draws)
        predicted = hidden.operator[each](images.flatten(0, 1)).unflatten(0, (len(batch), self.draws))
        if self.draws > 1:
            predicted = predicted + complex_or_real_noise(predicted, batch.sigma, draws)
        return energy_score(predicted, hidden.data, hidden.operator, self.groups), images

    def parted(self, batch: Measurement, draws: Draws) -> tuple[Measurement, Measurement]:
        """Return measurements of the lines that are shown, and of those that are hidden."""
        operator = batch.operator
        assert isinstance(operator, MultiCoilFourier)
        central = min(self.central, self.least_central), self.central
        mask = sparser_masks(operator.mask, central, self.shares, draws)
        parts = (operator.restricted(batch.data, chosen) for chosen in (mask, ~mask))
        shown, hidden = (replace(batch, operator=part, data=data) for part, data in parts)
        return shown, hidden
