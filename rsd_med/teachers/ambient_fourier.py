"""Fourier-space Ambient Diffusion: clean images from undersampled k-space alone (arXiv 2403.08728)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.corruptions.multicoil_fourier import MultiCoilUndersampling
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.view import View
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.noise import complex_or_real_noise
from rsd_med.teachers.base import Objective, ObjectiveSettings, weighted_error


class AmbientFourierSettings(ObjectiveSettings):
    """Hide further k-space lines from the network and ask for all that were acquired."""

    kind: Literal["ambient_fourier"] = "ambient_fourier"

    def build(self, corruption: Corruption) -> "AmbientFourier":
        """Build the objective; ProtocolError where the corruption is no undersampling."""
        if not isinstance(corruption, MultiCoilUndersampling):
            raise ProtocolError(
                "teacher.objective: ambient_fourier needs undersampled k-space: set corruption.kind to "
                "multicoil_fourier, or to fourier for images."
            )
        return AmbientFourier(corruption, self.levels)


class AmbientFourier(Objective):
    """``w(σ) ‖A^H A D − A^H y‖²`` where the network sees only ``Ã^H Ã (x + σn)`` and the mask of ``Ã ⊂ A``.

    The network cannot tell which lines of A were hidden from it, so it must fill in all of them. Nothing but ``A^H y``
    is used: ``Ã^H Ã x`` is the measured k-space under the further mask.

    The measurements count as free of noise: with ``corruption.sigma > 0`` the optimum keeps the noise of the lines that
    it is shown. The student is spared it all the same, because its generations get that noise before the fake score
    sees them, and not before the generator's loss does.
    """

    context_channels = 1
    hides = True

    def __call__(self, denoiser: Denoiser, measurement: Measurement, draws: Draws) -> Float[Tensor, " b"]:
        """Return the loss of each item; see the class."""
        operator = _multicoil(measurement.operator)
        further = self.further(operator, draws)
        sigma = self.levels.draw(len(measurement), draws)
        target = operator.H(measurement.data)
        noisy = self.noised(measurement, further, sigma, draws)
        estimate = to_complex(denoiser(noisy, sigma, mask_context(further)))
        return weighted_error(denoiser, torch.view_as_real(operator.normal(estimate) - target), sigma)

    def noised(
        self, measurement: Measurement, further: LinearOperator, sigma: Float[Tensor, " b"], draws: Draws
    ) -> Float[Tensor, "b c y x"]:
        """Return ``Ã^H (y + σ Ã n)``: its mask hides the lines of y that Ã leaves out."""
        further = _multicoil(further)
        height, width = further.maps.shape[-2:]
        like = measurement.data[:, :1, :height, :width]
        noise = complex_or_real_noise(like, sigma, draws)
        return to_channels(further.H(further(noise).add_(measurement.data)))

    def observe(self, image: Float[Tensor, "b c y x"], operator: LinearOperator) -> Float[Tensor, "b c y x"]:
        """Return the image itself: given the mask, the score describes the whole clean image."""
        return image

    def further(self, operator: LinearOperator, draws: Draws) -> MultiCoilFourier:
        """Draw a further mask for each item."""
        return _multicoil(self.corruption.further(operator, draws))

    def show(self, operator: LinearOperator) -> View:
        """Show ``Ã^H Ã`` of an image, and the mask of ``Ã``."""
        return View(operator.gram, mask_context(_multicoil(operator)))


def mask_context(operator: MultiCoilFourier) -> Float[Tensor, "b 1 y x"]:
    """Show the mask to the network as an image: ``(b, 1, y, x)`` float32."""
    height, width = operator.maps.shape[-2:]
    return operator.mask.to(torch.float32).expand(-1, -1, height, width)


def _multicoil(operator: LinearOperator) -> MultiCoilFourier:
    if not isinstance(operator, MultiCoilFourier):
        raise TypeError(f"ambient_fourier works on MultiCoilFourier operators, not on {type(operator).__name__}")
    return operator
