"""The signature that every objective shares.

The same object trains the teacher on real measurements and the fake score on corrupted generations: mixing
objectives between the two diverges (arXiv 2505.13377).
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.settings import KindSettings
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.diffusion.view import View
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.noise import complex_or_real_noise

Transforms = Literal["none", "permutations", "all"]
"""Of images, before something is learned from them; permutations of pixels change no value."""


class ObjectiveSettings(KindSettings):
    """What all objectives can be told.

    Attributes
    ----------
    completes
        Whether it is one of whole images, which a reconstructor has made of the measurements.
    """

    completes: ClassVar[bool] = False

    @property
    def after_reconstructor(self) -> bool:
        """Whether that is the run's own reconstructor, so that its stage comes first."""
        return False

    levels: LogNormalLevels = Field(default_factory=LogNormalLevels, description="distribution of the training σ")

    @abstractmethod
    def build(self, corruption: Corruption) -> "Objective":
        """Build the objective; ProtocolError where it does not fit the corruption."""


class Objective(ABC):
    """How a denoiser is trained on measurements, shown an image, and compared on one.

    Attributes
    ----------
    context_channels
        How many channels the networks are given beside the image.
    hides
        Whether the networks are shown a part of an image, chosen by Ã, and not all of it.
    transforms
        How measurements may be augmented before this objective learns from them (see ``augmentation``).
    """

    context_channels: int = 0
    hides: bool = False
    transforms: Transforms = "none"

    def __init__(self, corruption: Corruption, levels: LogNormalLevels) -> None:
        self.corruption = corruption
        self.levels = levels

    @abstractmethod
    def __call__(self, denoiser: Denoiser, measurement: Measurement, draws: Draws) -> Float[Tensor, " b"]:
        """Return the loss of each item, ``(b,)`` float32, summed over the pixels and weighted by w(σ)."""

    @abstractmethod
    def observe(self, image: Float[Tensor, "b c y x"], operator: LinearOperator) -> Float[Tensor, "b c y x"]:
        """Map a generated image to what the teacher's score describes: ``A(G(z))``, without measurement noise.

        ``image`` and the result are in channels, ``(b, channels, y, x)``; gradients pass.
        """

    def further(self, operator: LinearOperator, draws: Draws) -> LinearOperator:
        """Draw the operator Ã by which the networks see images measured by ``operator``; by default that operator."""
        return operator

    def show(self, operator: LinearOperator) -> View:
        """Return how the networks are shown images of which ``operator``, an Ã, is known; by default they see all."""
        return View()

    @abstractmethod
    def noised(
        self, measurement: Measurement, further: LinearOperator, sigma: Float[Tensor, " b"], draws: Draws
    ) -> Float[Tensor, "b c y x"]:
        """Return measurements as the networks see them at level σ: with noise of σ in all, and through Ã.

        Parameters
        ----------
        measurement
            Of b items, with the noise that they have.
        further
            Ã of each item; ``show`` tells the networks about it.
        sigma
            σ of each item, ``(b,)``. Where it is below the noise of the item, nothing is added.
        draws
            The source of noise.

        Returns
        -------
        Tensor
            In channels, ``(b, channels, y, x)``; gradients pass.
        """

    def draw_view(self, like: Measurement, draws: Draws) -> View:
        """Draw how the networks see images that are measured afresh, as those of ``like`` were."""
        return self.show(self.further(self.corruption.draw(like, draws), draws))


def apply(operator: LinearOperator, image: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
    """Apply an image-to-image operator to an image in channels, ``(b, channels, y, x)``: two are a complex image's."""
    return to_channels(operator(to_complex(image))) if image.shape[1] == 2 else operator(image)


def raised(
    y: Float[Tensor, "b c y x"], sigma_n: Float[Tensor, " b"], sigma: Float[Tensor, " b"], draws: Draws
) -> Float[Tensor, "b c y x"]:
    """Add noise to data that have σ_n of it, until it is σ: ``y + √(σ² − σ_n²) n``, and nothing where σ < σ_n."""
    missing = (sigma**2 - sigma_n.to(sigma.device) ** 2).clamp_min(0).sqrt()
    return y + complex_or_real_noise(y, missing, draws)


def weighted_error(
    denoiser: Denoiser, residual: Float[Tensor, "b ..."], sigma: Float[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """Sum ``w(σ) |residual|²`` over channels and pixels: ``(b, …)``, real, to ``(b,)``."""
    return denoiser.weight(sigma) * residual.square().flatten(1).sum(1)
