"""Fourier-space Ambient Diffusion: clean images from undersampled k-space alone (arXiv 2403.08728)."""

from typing import Literal

import torch
from jaxtyping import Complex, Float
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

    With noise (``corruption.sigma > 0``) levels are drawn above that of the data, σ_n, and the estimate is freed of it.
    Noise is added in two steps: to the k-space that is shown, until it has ``τ = min(σ, 2 σ_n)``, then to the image.

        y₁ = y + √(τ² − σ_n²) ε,        shown: Ã^H (y₁ + √(σ² − τ²) Ã n)

    The first is as white as the noise of y, over coils too. So double Tweedie (arXiv 2404.10177) holds for each shown
    entry, ``E[y | shown] = (σ_n²/τ²) E[y₁ | shown] + (1 − σ_n²/τ²) Ã E[x | shown]``, whatever the coil maps; n adds to
    what is not known. Where Ã shows an entry, ``(1 − σ_n²/τ²) A D + (σ_n²/τ²) y₁`` stands in place of A D; the noise
    of hidden lines is independent of all that was shown. At the optimum D is then the mean of the clean image.

    What is shown has the noise ``Ã^H Ã σn`` of the noise-free case but for coils whose maps overlap, where white noise
    of τ in k-space is more than white noise of τ in the image. That is why τ is as small as 2 σ_n: the less is added in
    the first step, the less this is, but the less the shown lines teach, too.

    Noise that scans have without the corruption adding it (``corruption.sigma: 0``) counts as a part of the image.
    """

    context_channels = 1
    hides = True

    def __call__(self, denoiser: Denoiser, measurement: Measurement, draws: Draws) -> Float[Tensor, " b"]:
        """Return the loss of each item; see the class."""
        operator = _multicoil(measurement.operator)
        further = self.further(operator, draws)
        if self.corruption.sigma > 0:
            return self._noisy_loss(denoiser, measurement, operator, further, draws)
        sigma = self.levels.draw(len(measurement), draws)
        target = operator.H(measurement.data)
        noisy = self.noised(measurement, further, sigma, draws)
        estimate = to_complex(denoiser(noisy, sigma, mask_context(further)))
        return weighted_error(denoiser, torch.view_as_real(operator.normal(estimate) - target), sigma)

    def _noisy_loss(
        self,
        denoiser: Denoiser,
        measurement: Measurement,
        operator: MultiCoilFourier,
        further: MultiCoilFourier,
        draws: Draws,
    ) -> Float[Tensor, " b"]:
        sigma_n = measurement.sigma.to(measurement.device)
        sigma = self.levels.draw(len(measurement), draws, above=sigma_n)
        raised, tau = self._raised(measurement, further, sigma, draws)
        noisy = self._with_image_noise(raised, further, (sigma**2 - tau**2).sqrt(), draws)
        estimate = operator(to_complex(denoiser(noisy, sigma, mask_context(further))))
        share = torch.where(sigma_n > 0, (sigma_n / tau) ** 2, 0.0).reshape(-1, 1, 1, 1) * further.entries(raised)
        residual = operator.H((1 - share) * estimate + share * raised - measurement.data)
        return weighted_error(denoiser, torch.view_as_real(residual), sigma)

    def noised(
        self, measurement: Measurement, further: LinearOperator, sigma: Float[Tensor, " b"], draws: Draws
    ) -> Float[Tensor, "b c y x"]:
        """Return ``Ã^H (y + σ Ã n)``, or with noise in the data what the class says.

        The mask of Ã hides the lines of y that it leaves out.
        """
        further = _multicoil(further)
        if self.corruption.sigma == 0:
            return self._with_image_noise(measurement.data, further, sigma, draws)
        raised, tau = self._raised(measurement, further, sigma, draws)
        return self._with_image_noise(raised, further, (sigma**2 - tau**2).clamp_min(0).sqrt(), draws)

    def _raised(
        self, measurement: Measurement, further: MultiCoilFourier, sigma: Float[Tensor, " b"], draws: Draws
    ) -> tuple[Complex[Tensor, "b coil y x"], Float[Tensor, " b"]]:
        """Return y₁, and τ of each item."""
        sigma_n = measurement.sigma.to(sigma.device)
        tau = sigma.minimum(2 * sigma_n).maximum(sigma_n)
        noise = complex_or_real_noise(measurement.data, (tau**2 - sigma_n**2).clamp_min(0).sqrt(), draws)
        return measurement.data + noise * further.entries(noise), tau

    def _with_image_noise(
        self, data: Complex[Tensor, "b coil y x"], further: MultiCoilFourier, sigma: Float[Tensor, " b"], draws: Draws
    ) -> Float[Tensor, "b c y x"]:
        """Return ``Ã^H (data + σ Ã n)``, one adjoint for both."""
        noise = complex_or_real_noise(data[:, :1], sigma, draws)
        return to_channels(further.H(further(noise).add_(data)))

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
