"""How much of an image a network is not shown, from the measurements alone."""

import torch
from torch import Tensor

from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.linear import LinearOperator


class HiddenVariance:
    """Adds measurements up, a batch at a time, to the variance of what Ã hides of an image.

    Entry e of the data (a number of k-space, a pixel) varies by v_e from image to image. That is known wherever some of
    the measurements have it: v_e is their variance without that of the noise. A network is shown the entry in a share
    p_e of the draws of Ã. So Ã hides, of an image of n real numbers, Σ_e (1 − p_e) v_e / n per number on average: the
    maps of a scan are normalised and its transform is unitary, so that k-space has the energy of the image.

    Entries that no measurement has (never acquired, or too few items) count as nothing.
    """

    def __init__(self) -> None:
        self.items = 0
        self.image_size = 0
        self._count: Tensor = torch.zeros(())
        self._shown: Tensor = torch.zeros(())
        self._sum: Tensor = torch.zeros(())
        self._square: Tensor = torch.zeros(())
        self._noise = 0.0

    def add(self, measurement: Measurement, further: LinearOperator) -> None:
        """Add a batch, and the Ã drawn for each of its items."""
        data = measurement.data
        measured = measurement.operator.entries(data).expand_as(data)
        values = torch.view_as_real(data) if data.is_complex() else data[..., None]
        values = values.to(torch.float64) * measured[..., None]
        self.items += len(data)
        image = measurement[:1].image()
        self.image_size = image.numel() * (2 if image.is_complex() else 1)
        self._count = self._count + measured.sum(0).to(torch.float64)
        self._shown = self._shown + further.entries(data).expand_as(data).sum(0)
        self._sum = self._sum + values.sum(0)
        self._square = self._square + values.square().sum((0, -1))
        self._noise += float(measurement.sigma.to(torch.float64).square().sum()) * values.shape[-1]

    def std(self) -> float:
        """Return the standard deviation per real number of an image of what Ã hides, in scaled units."""
        known = self._count > 1
        count = self._count.clamp_min(2)
        variance = (self._square - self._sum.square().sum(-1) / count) / (count - 1) - self._noise / self.items
        hidden = (1 - self._shown / self.items) * variance.clamp_min(0) * known
        return float((hidden.sum() / self.image_size).sqrt())
