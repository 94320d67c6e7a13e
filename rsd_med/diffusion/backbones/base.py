"""What the networks share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional

from rsd_med.base.draws import Draws
from rsd_med.base.settings import KindSettings

AUGMENTATION_LABELS = 9
"""Numbers that describe an augmentation (arXiv 2206.00364, table 6); all zero: the image is as it was."""


class BackboneSettings(KindSettings):
    """The network behind the preconditioning.

    Attributes
    ----------
    takes_augmentation
        Whether the network can be told how its images were augmented (`LearningNetwork`).
    """

    takes_augmentation: ClassVar[bool] = False

    @abstractmethod
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build the network with fresh weights, drawn from the global generator (see ``build_denoiser``)."""


@runtime_checkable
class Encoder(Protocol):
    """A network that can be asked for its first half alone, by which a critic judges images (``student.adversarial``).

    A backbone needs no more than this one method to serve as a critic.
    """

    def features(self, x: Tensor, noise_label: Tensor) -> Tensor:
        """Return what the middle of the network makes of an image, as it does without dropout or augmentation.

        Parameters
        ----------
        x
            ``(b, in_channels, y, x)``.
        noise_label
            ``(b,)``.

        Returns
        -------
        Tensor
            ``(b, features, y', x')`` at the lowest resolution.
        """


class LearningNetwork(nn.Module, ABC):
    """A network that works otherwise while it learns: with dropout, and told how its images were augmented.

    ``nn.Module.train`` and ``eval`` change nothing. Whoever lets the network learn says so in the call, and gives the
    `Draws`: a copy that is only asked can neither drop anything nor touch a random state.
    """

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        noise_label: Tensor,
        augmentation: Tensor | None = None,
        masks: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Compute the answer.

        Parameters
        ----------
        x
            ``(b, in_channels, y, x)``.
        noise_label
            ``(b,)``.
        augmentation
            How each image was augmented, ``(b, AUGMENTATION_LABELS)``; None: not at all.
        masks
            Which numbers dropout leaves, from `dropout_masks`; None: nothing is dropped.

        Returns
        -------
        Tensor
            ``(b, out_channels, y, x)``.
        """

    @abstractmethod
    def dropout_masks(self, x: Tensor, draws: Draws) -> Sequence[Tensor]:
        """Draw which numbers dropout leaves in a pass on ``x``, ``(b, in_channels, y, x)``: boolean tensors ``(b, …)``.

        They are drawn before the pass, so that a compiled network is one graph without random numbers.
        """


def require_one_per_level(name: str, widths: Sequence[int], attention: Sequence[bool]) -> None:
    """Refuse, by ValueError, settings ``name`` and ``attention`` that tell of different numbers of levels."""
    if len(widths) != len(attention):
        raise ValueError(f"{name} and attention need one entry per level, got {len(widths)} and {len(attention)}")


def reflected_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Reflect an image ``(b, c, y, x)`` at its lower and right edge until both sides are multiples of a number."""
    height, width = x.shape[-2:]
    pad_y, pad_x = -height % multiple, -width % multiple
    return functional.pad(x, (0, pad_x, 0, pad_y), mode="reflect") if pad_y or pad_x else x


def count_parameters(module: nn.Module) -> int:
    """Count the numbers in ``module`` that training may change or has changed."""
    return sum(parameter.numel() for parameter in module.parameters())
