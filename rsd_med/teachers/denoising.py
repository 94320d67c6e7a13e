"""Ordinary denoising score matching on the measurements as they are (EDM, arXiv 2206.00364)."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.noise import complex_or_real_noise
from rsd_med.teachers.base import Objective, ObjectiveSettings, Transforms, apply, weighted_error


class DenoisingSettings(ObjectiveSettings):
    """EDM's own objective: the teacher models the law of the measurements, corruption included."""

    kind: Literal["denoising"] = "denoising"

    def build(self, corruption: Corruption) -> "Denoising":
        """Build the objective."""
        return Denoising(corruption, self.levels)


class Denoising(Objective):
    """``w(σ) ‖D(y + σn; σ) − y‖²`` (EDM, arXiv 2206.00364, equation 8).

    k-space is seen as the zero-filled image ``A^H y``, so that the teacher models the law of ``A^H A x``.
    """

    transforms: Transforms = "all"  # what it learns is the law of what it is shown, whatever that is

    def __call__(self, denoiser: Denoiser, measurement: Measurement, draws: Draws) -> Float[Tensor, " b"]:
        """Return the loss of each item; see the class."""
        y = to_channels(measurement.image())
        sigma = self.levels.draw(len(y), draws)
        noisy = self.noised(measurement, measurement.operator, sigma, draws)
        return weighted_error(denoiser, denoiser(noisy, sigma) - y, sigma)

    def noised(
        self, measurement: Measurement, further: LinearOperator, sigma: Float[Tensor, " b"], draws: Draws
    ) -> Float[Tensor, "b c y x"]:
        """Return ``y + σn``: the noise of the data is a part of what is learned."""
        y = to_channels(measurement.image())
        return y + complex_or_real_noise(y, sigma, draws)

    def observe(self, image: Float[Tensor, "b c y x"], operator: LinearOperator) -> Float[Tensor, "b c y x"]:
        """Return ``A(x)``, or the zero-filled image ``A^H A x`` of a scan."""
        if operator.complex_domain:
            return to_channels(operator.normal(to_complex(image)))
        return apply(operator, image)
