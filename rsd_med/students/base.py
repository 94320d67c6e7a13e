"""The signature that every student loss shares."""

from abc import ABC, abstractmethod

import torch

from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.view import View


class StudentLoss(ABC):
    """What distillation asks of an observed generation."""

    @abstractmethod
    def __call__(
        self,
        observed: torch.Tensor,
        view: View,
        teacher: Denoiser,
        fake: Denoiser,
        data_sigma: float,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the loss of each item, ``(b,)`` float32.

        Parameters
        ----------
        observed
            ``y_θ = A(G(z))`` in channels, with gradient, ``(b, channels, y, x)``.
        view
            How both networks are shown noisy versions of it.
        teacher, fake
            Frozen parameters; whether gradients pass through their inputs is for the loss to say.
        data_sigma
            Noise level of the measurements.
        generator
            For levels and noise.
        """
