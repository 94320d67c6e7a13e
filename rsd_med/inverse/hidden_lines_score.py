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
    """

    central: int
    least_central: int
    draws: int
    groups: tuple[Group, ...]

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
        operator = batch.operator
        assert isinstance(operator, MultiCoilFourier)
        mask = sparser_masks(operator.mask, self.central, min(self.central, self.least_central), draws)
        shown, shown_data = operator.restricted(batch.data, mask)
        hidden, hidden_data = operator.restricted(batch.data, ~mask)
        noise = draws.normal(len(batch), self.draws, LATENTS, *batch.size).to(batch.device)
        images = network(replace(batch, data=shown_data, operator=shown), noise if self.draws > 1 else 0 * noise)
        each = torch.arange(len(batch), device=batch.device).repeat_interleave(self.draws)
        predicted = hidden[each](images.flatten(0, 1)).unflatten(0, (len(batch), self.draws))
        if self.draws > 1:
            predicted = predicted + complex_or_real_noise(predicted, batch.sigma, draws)
        return energy_score(predicted, hidden_data, hidden, self.groups), images
