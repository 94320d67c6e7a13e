"""Noise alone: every pixel is seen, none of them exactly."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from rsd_med.base.settings import Settings
from rsd_med.corruptions.base import ImageCorruption
from rsd_med.operators.linear import LinearOperator


class NoiseSettings(Settings):
    """Additive white Gaussian noise of known level.

    Attributes
    ----------
    sigma
        Standard deviation per real component, in scaled units ([-1, 1] for natural images).
    simulate
        True: the files are clean and the noise is added, once and the same for the whole run.
        False: the files carry it already.
    """

    kind: Literal["noise"] = "noise"
    sigma: float = Field(gt=0)
    simulate: bool = True

    def build(self) -> "GaussianNoise":
        """Return the corruption."""
        return GaussianNoise(self.sigma, simulate=self.simulate)


class GaussianNoise(ImageCorruption):
    """y = x + sigma e, for real and complex images.

    Parameters
    ----------
    sigma
        Standard deviation per real component, in scaled units.
    simulate
        False if the images of the source carry the noise already. Generated images always get it.
    """

    def __init__(self, sigma: float, *, simulate: bool = True) -> None:
        self.sigma = sigma
        self.simulate = simulate

    def measured(self, image: Tensor, operator: LinearOperator, generator: torch.Generator) -> Tensor:
        """Return the image with noise, or as it is where it carries the noise already."""
        return super().measured(image, operator, generator) if self.simulate else image
