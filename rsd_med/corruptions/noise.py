"""Noise alone: every pixel is seen, none of them exactly."""

from typing import Annotated, ClassVar, Literal

from jaxtyping import Inexact
from pydantic import Field
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.base import ImageCorruption
from rsd_med.corruptions.noise_level import Estimate, NoiseLevelSettings
from rsd_med.operators.linear import LinearOperator


class NoiseSettings(NoiseLevelSettings):
    """Additive white Gaussian noise."""

    where_files_carry_it: ClassVar[str] = ", or set simulate: false where the files carry it"

    kind: Literal["noise"] = "noise"
    sigma: Annotated[float, Field(gt=0)] | Estimate = Field(
        description="standard deviation per real component, in scaled units ([-1, 1] for natural images), as training "
        'assumes; or "estimate"'
    )
    simulate: bool = Field(
        True,
        description="true: the files are clean and the noise is added, once and the same for the whole run; false: "
        "the files carry it already",
    )

    def build(self) -> "GaussianNoise":
        """Return the corruption."""
        return GaussianNoise(self)


class GaussianNoise(ImageCorruption):
    """y = x + sigma e, for real and complex images."""

    def __init__(self, settings: NoiseSettings) -> None:
        super().__init__(settings.assumed_sigma, settings.simulated_sigma)
        self.simulate = settings.simulate

    def measured(
        self, image: Inexact[Tensor, "b c y x"], operator: LinearOperator, draws: Draws
    ) -> Inexact[Tensor, "b c y x"]:
        """Return the image with noise, or as it is where it carries the noise already."""
        return super().measured(image, operator, draws) if self.simulate else image
