"""What a network is shown of an image, and how to ask it about one."""

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.linear import Identity, LinearOperator
from rsd_med.operators.tensors import require_batch_index


@dataclass(frozen=True, repr=False)
class View:
    """A fixed way of showing images to a network. ``view[index]`` is that of some items of the batch.

    Attributes
    ----------
    projection
        Maps an image to what of it the network is shown: the identity, or ``Ã^H Ã``. An operator that acts on complex
        images alone gets them as such; any other acts on the channels.
    context
        Channels that tell the network about that projection, ``(b, context_channels, y, x)``, or None.
    compared
        Pixels at which a student loss compares two networks, boolean ``(b, 1, y, x)``; None is all of them.
    """

    projection: LinearOperator = field(default_factory=Identity)
    context: Tensor | None = None
    compared: Tensor | None = None

    def __repr__(self) -> str:
        """Tell the shapes, not the numbers."""
        shapes = [
            f", {name} {list(tensor.shape)}"
            for name, tensor in (("context", self.context), ("compared", self.compared))
            if tensor is not None
        ]
        return f"View({self.projection!r}{''.join(shapes)})"

    def project(self, x: Tensor) -> Tensor:
        """Return what the network is shown of images in channels, ``(b, channels, y, x)``; gradients pass."""
        if self.projection.complex_domain:
            return to_channels(self.projection(to_complex(x)))
        return self.projection(x)

    def denoise(self, denoiser: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
        """Ask ``denoiser`` for the clean image behind the noisy image ``x`` at level ``sigma`` ``(b,)``."""
        estimate: Tensor = denoiser(self.project(x), sigma, self.context)
        return estimate

    def restrict(self, gap: Tensor) -> Tensor:
        """Set a difference of images to zero where it is not compared."""
        return gap if self.compared is None else gap.masked_fill(~self.compared, 0)

    def mean(self, gap: Tensor) -> Tensor:
        """Average over channels and the pixels compared: ``(b, channels, y, x)`` to ``(b,)``; 0 if there are none."""
        if self.compared is None:
            return gap.flatten(1).mean(1)
        pixels = self.compared.expand_as(gap).flatten(1).sum(1)
        return self.restrict(gap).flatten(1).sum(1) / pixels.clamp_min(1)

    def __getitem__(self, index: slice | Tensor) -> Self:
        """Select items of the batch by a slice or a 1-D tensor; TypeError for anything else."""
        require_batch_index(index)
        context, compared = (None if one is None else one[index] for one in (self.context, self.compared))
        return type(self)(self.projection[index], context, compared)

    def to(self, device: torch.device | str) -> Self:
        """Return the view with its tensors on a device."""
        context, compared = (None if one is None else one.to(device) for one in (self.context, self.compared))
        return type(self)(self.projection.to(device), context, compared)
