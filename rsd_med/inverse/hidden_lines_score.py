"""How well a network that reconstructs predicts measured lines that it is not shown."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.guess_error import LATENTS
from rsd_med.metrics.energy_score import Group, energy_score
from rsd_med.operators.masks import sparser_masks
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.noise import complex_or_real_noise

RENOISED = (0.5, 1.0)
"""Lines that are shown get further noise of so many times the scan's, uniformly drawn."""

OF_SHOWN = 0.5
"""Weight of lines that are shown beside those that are hidden."""


@dataclass(frozen=True)
class HiddenLinesScore:
    """The energy score of hidden lines, measurement noise included, and of those that are shown, freed of their noise.

    Of lines that are shown the network must not be asked for the very noise that it has seen: it would keep it. So
    they are shown as ``y + a σ n`` and compared with ``y − σ n / a``, n drawn anew: the noise of the two is independent
    (Pang et al., Recorrupted-to-Recorrupted, CVPR 2021). Where σ is 0, or not known, only hidden lines count.

    Attributes
    ----------
    central, least_central
        Central columns of a measurement, and how many of them are shown at least.
    draws
        Images drawn of each measurement; 1: one estimate without noise.
    groups
        What is compared as one vector of hidden lines; of shown lines it is entries.
    shares
        Of the other measured columns, so many are shown at least and at most.
    """

    central: int
    least_central: int
    draws: int
    groups: tuple[Group, ...]
    shares: tuple[float, float] = (0.3, 0.95)

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
        given, asked = _renoised(shown, draws)
        noise = draws.normal(len(batch), self.draws, LATENTS, *batch.size).to(batch.device)
        images = network(given, noise if self.draws > 1 else 0 * noise)
        each = torch.arange(len(batch), device=batch.device).repeat_interleave(self.draws)
        predicted = batch.operator[each](images.flatten(0, 1)).unflatten(0, (len(batch), self.draws))
        noise = complex_or_real_noise(predicted, 1.0, draws) if self.draws > 1 else torch.zeros_like(predicted)

        def scored(target: Measurement, groups: tuple[Group, ...]) -> Tensor:
            simulated = predicted + noise * target.sigma.reshape(-1, 1, 1, 1, 1)
            return energy_score(simulated, target.data, target.operator, groups)

        return scored(hidden, self.groups) + OF_SHOWN * (batch.sigma > 0) * scored(asked, ("entries",)), images

    def parted(self, batch: Measurement, draws: Draws) -> tuple[Measurement, Measurement]:
        """Return measurements of the lines that are shown, and of those that are hidden."""
        operator = batch.operator
        assert isinstance(operator, MultiCoilFourier)
        central = min(self.central, self.least_central), self.central
        mask = sparser_masks(operator.mask, central, self.shares, draws)
        parts = (operator.restricted(batch.data, chosen) for chosen in (mask, ~mask))
        shown, hidden = (replace(batch, operator=part, data=data) for part, data in parts)
        return shown, hidden


def _renoised(shown: Measurement, draws: Draws) -> tuple[Measurement, Measurement]:
    """Return a measurement with more noise, and one of the same lines whose noise is independent of that one's."""
    low, high = RENOISED
    part = (low + (high - low) * draws.uniform(len(shown))).to(shown.device)
    noise = complex_or_real_noise(shown.data, shown.sigma, draws)
    noise = noise.masked_fill(~shown.operator.entries(shown.data), 0)
    factor = part.reshape(-1, *[1] * (noise.ndim - 1))
    given = replace(shown, data=shown.data + factor * noise, sigma=shown.sigma * (1 + part.square()).sqrt())
    asked = replace(
        shown, data=shown.data - noise / factor, sigma=shown.sigma * (1 + part.square().reciprocal()).sqrt()
    )
    return given, asked
