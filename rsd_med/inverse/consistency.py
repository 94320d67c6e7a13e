"""Does an image explain the measurement? The residual of the data against the level of their noise."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rsd_med.corruptions.measurement import Measurement

LIMIT = 1.5
"""Largest noise ratio that counts as explained: above it, most of the residual's energy is not noise."""

RELATIVE_LIMIT = 0.05
"""The limit of the relative residual where the noise level is unknown (σ = 0)."""


@dataclass(frozen=True)
class Consistency:
    """The data-consistency residual of one image.

    Attributes
    ----------
    noise_ratio
        ``‖A x − y‖ / (σ √(2N))`` over the N sampled complex entries: about 1 for the true image, less for an image that
        follows the noise; None where σ is 0.
    relative
        ``‖A x − y‖ / ‖y‖``.
    """

    noise_ratio: float | None
    relative: float

    @property
    def explains(self) -> bool:
        """Whether the image explains the measurement: the noise accounts for the residual."""
        if self.noise_ratio is None:
            return self.relative <= RELATIVE_LIMIT
        return self.noise_ratio <= LIMIT

    def sentence(self) -> str:
        """Say it in words."""
        verdict = "explains the measurement" if self.explains else "does NOT explain the measurement"
        return f"{verdict}: {self.figure()}"

    def figure(self) -> str:
        """Say the residual alone."""
        if self.noise_ratio is None:
            return f"residual {self.relative:.1%} of the data (noise level unknown)"
        return f"residual {self.noise_ratio:.2f} times the noise"


def consistency(image: Tensor, measurement: Measurement) -> Consistency:
    """Compare ``A x`` with the data of one slice.

    Parameters
    ----------
    image
        ``(1, y, x)`` complex64, in scaled units.
    measurement
        A batch of one.
    """
    operator = measurement.operator
    with torch.no_grad():
        difference = float((operator(image[None]) - measurement.data).norm())
    energy = float(measurement.data.norm())
    entries = int(operator.entry_counts(measurement.data)[0])
    noise = float(measurement.sigma[0]) * math.sqrt(2 * entries)
    return Consistency(
        noise_ratio=difference / noise if noise > 0 else None,
        relative=difference / energy if energy > 0 else math.inf,
    )
