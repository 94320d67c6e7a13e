"""Ambient Diffusion: clean images from images with missing pixels alone (arXiv 2305.19256)."""

from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.inpainting import Inpainting
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.diffusion.view import View
from rsd_med.operators.channels import to_channels
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.sampling import SamplingMask
from rsd_med.teachers.base import Objective, ObjectiveSettings, raised, weighted_error

LossMask = Literal["acquired", "shown"]
Compared = Literal["shown", "everywhere"]


class AmbientMaskedSettings(ObjectiveSettings):
    """Hide further pixels from the network and ask for all that were acquired."""

    kind: Literal["ambient_masked"] = "ambient_masked"
    loss_mask: LossMask = Field(
        "acquired",
        description="pixels that teacher and fake score are asked for: all that were acquired, or only those they are "
        "shown, which supervises no hidden pixel and is here to be compared with",
    )
    compared: Compared = Field(
        "shown", description="pixels at which the student loss compares teacher and fake score: those shown, or all"
    )

    def build(self, corruption: Corruption) -> "AmbientMasked":
        """Build the objective; ProtocolError where the corruption has no masks of pixels."""
        if not isinstance(corruption, Inpainting):
            raise ProtocolError(
                "teacher.objective: ambient_masked needs images with missing pixels; set corruption.kind: inpainting."
            )
        return AmbientMasked(corruption, self.levels, self.loss_mask, self.compared)


class AmbientMasked(Objective):
    """``w(σ) ‖A ⊙ (D − y)‖²`` where the network sees only ``Ã ⊙ (y + √(σ² − σ_n²) n)`` and the mask ``Ã ⊂ A``.

    The network cannot tell which pixels of A were hidden from it, so it must fill in all of them: at the optimum D is
    the mean of the clean image, given what was shown, on every pixel that A may have acquired.

    With noise of σ_n in the data, levels are drawn above it. Given Ã, the noise of the shown pixels is that of Ambient
    Tweedie, pixel by pixel, so that there ``(1 − σ_n²/σ²) D + (σ_n²/σ²) x`` stands in place of D. The noise of acquired
    pixels that were hidden is independent of all that was shown: there y itself is an unbiased target.

    A student's generations are compared at the shown pixels, since there alone do the networks' answers give the score
    of a law, that of ``Ã ⊙ (x + σn)`` given Ã (docs/method.md).
    """

    context_channels = 1
    hides = True
    transforms = "permutations"  # of image and mask together

    def __init__(
        self,
        corruption: Corruption,
        levels: LogNormalLevels,
        loss_mask: LossMask = "acquired",
        compared: Compared = "shown",
    ) -> None:
        super().__init__(corruption, levels)
        self.loss_mask = loss_mask
        self.compared = compared

    def __call__(self, denoiser: Denoiser, measurement: Measurement, draws: Draws) -> Float[Tensor, " b"]:
        """Return the loss of each item; see the class."""
        further = self.further(measurement.operator, draws)
        y = to_channels(measurement.data)
        sigma_n = measurement.sigma.to(y.device)
        sigma = self.levels.draw(len(y), draws, above=sigma_n)
        noisy = self.noised(measurement, further, sigma, draws)
        share = further.mask * ((sigma_n / sigma) ** 2).reshape(-1, 1, 1, 1)
        predicted = (1 - share) * denoiser(noisy, sigma, further.mask.float()) + share * noisy
        asked = measurement.operator if self.loss_mask == "acquired" else further
        return weighted_error(denoiser, asked(predicted - y), sigma)

    def noised(
        self, measurement: Measurement, further: LinearOperator, sigma: Float[Tensor, " b"], draws: Draws
    ) -> Float[Tensor, "b c y x"]:
        """Return ``Ã ⊙ (y + √(σ² − σ_n²) n)``."""
        return further(raised(to_channels(measurement.data), measurement.sigma, sigma, draws))

    def observe(self, image: Float[Tensor, "b c y x"], operator: LinearOperator) -> Float[Tensor, "b c y x"]:
        """Return the image itself: what is compared of it is for the view to say."""
        return image

    def further(self, operator: LinearOperator, draws: Draws) -> SamplingMask:
        """Draw a further mask for each item."""
        return _pixels(self.corruption.further(operator, draws))

    def show(self, operator: LinearOperator) -> View:
        """Show ``Ã ⊙ x``, and Ã."""
        mask = _pixels(operator).mask
        return View(operator, mask.float(), mask if self.compared == "shown" else None)


def _pixels(operator: LinearOperator) -> SamplingMask:
    if not isinstance(operator, SamplingMask):
        raise TypeError(f"ambient_masked works on SamplingMask operators, not on {type(operator).__name__}")
    return operator
