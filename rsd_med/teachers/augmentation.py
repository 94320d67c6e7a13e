"""Augmentation that does not leak into the samples.

A network sees turned and warped images together with labels that say how they were transformed. Later it generates
with labels of zero, so its images are not transformed. Transforms and labels are those of EDM (arXiv 2206.00364,
appendix F.2, table 6) with two exceptions: interpolation is bicubic without oversampling, and the label of the aspect
holds twice its angle.

What happens here happens to *measurements*, whose corruption is fixed, and not to clean images before it. Interpolation
would colour their noise, and reflection at the edges would show parts of it twice, where Ambient Tweedie counts on
white noise of a known level. Such objectives are given permutations of the pixels alone: mirror images, quarter turns.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Inexact
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.base.settings import Settings
from rsd_med.corruptions.base import ImageCorruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.backbones import AUGMENTATION_LABELS
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.linear import Identity, LinearOperator
from rsd_med.operators.sampling import SamplingMask
from rsd_med.teachers.base import Objective, Transforms

SCALE = 2**0.2
SHIFT = 1 / 8
"""One standard deviation of scale and aspect, as a factor, and of translation, as a part of the side."""


class AugmentationSettings(Settings):
    """Augmentation of what teacher and fake score learn from; labels say how. The generator has labels of zero."""

    probability: float = Field(
        gt=0, le=1, description="of each transform, apart from the mirror image, which is as likely as the image"
    )

    def build(self, objective: Objective) -> "Augmentation":
        """Build it; ProtocolError where the objective's measurements cannot be augmented."""
        if not isinstance(objective.corruption, ImageCorruption):
            raise ProtocolError("augmentation: only images can be turned, and these data are k-space; leave it out.")
        if objective.transforms == "none":
            raise ProtocolError(
                f"augmentation: {type(objective).__name__} cannot learn from transformed measurements; leave it out."
            )
        return Augmentation(self.probability, objective.transforms)


class Augmentation:
    """Draw a transform for each item of a batch.

    Parameters
    ----------
    probability
        Of each transform; the mirror image is as likely as the image.
    transforms
        ``permutations``: mirror images and quarter turns (half turns where images are not square), which change no
        value. ``all``: mirror images, scale, any angle, aspect and translation.
    """

    def __init__(self, probability: float, transforms: Transforms) -> None:
        self.probability = probability
        self.transforms = transforms

    def __call__(self, measurement: Measurement, draws: Draws) -> tuple[Measurement, Float[Tensor, "b labels"]]:
        """Transform measurements that are images.

        Returns
        -------
        tuple[Measurement, Tensor]
            The transformed measurement, and the labels ``(b, 9)`` float32, zero for items that are as they were. A
            mask of pixels goes with its image; any other operator is dropped, for it does not describe the transformed
            data.
        """
        data = measurement.data
        items, device = len(data), data.device
        chance = draws.uniform(items, 9).to(device)
        mirrored, flipped = chance[:, 0] < 0.5, (chance[:, 1] < 0.5) & (chance[:, 2] < self.probability)
        turned = chance[:, 3] < self.probability
        labels = torch.zeros(items, AUGMENTATION_LABELS, device=device)
        labels[:, 0], labels[:, 1] = mirrored, flipped
        if self.transforms == "permutations":
            steps = 4 if data.shape[-1] == data.shape[-2] else 2
            quarters = (chance[:, 4] * steps).long() * (4 // steps) * turned
            labels[:, 3:5] = _angle_labels(quarters * (math.pi / 2))
            operator: LinearOperator = Identity()
            if isinstance(measurement.operator, SamplingMask):
                operator = SamplingMask(permuted(measurement.operator.mask, mirrored, flipped, quarters))
            return replace(measurement, data=permuted(data, mirrored, flipped, quarters), operator=operator), labels
        normal = draws.normal(items, 4).to(device)
        angle = (2 * chance[:, 4] - 1) * math.pi * turned
        axis = chance[:, 5] * math.pi
        happens = torch.cat([chance[:, 6:9], chance[:, 8:9]], 1) < self.probability
        scale, aspect, *shift = (normal * happens).unbind(1)
        labels[:, 2] = scale
        labels[:, 3:5] = _angle_labels(angle)
        # Of twice the angle: shortening along an axis and lengthening across it are the same.
        labels[:, 5], labels[:, 6] = aspect * (2 * axis).cos(), aspect * (2 * axis).sin()
        labels[:, 7:] = torch.stack(shift, 1)
        image = to_channels(permuted(data, mirrored, flipped))
        moved = warped(image, linear_map(scale, angle, aspect, axis), labels[:, 7:] * SHIFT)
        # What is only mirrored is not interpolated.
        image = torch.where(labels[:, 2:].any(1).reshape(-1, 1, 1, 1), moved, image)
        return replace(measurement, data=to_complex(image) if data.is_complex() else image, operator=Identity()), labels


def permuted(x: Tensor, mirrored: Tensor, flipped: Tensor, quarters: Tensor | None = None) -> Tensor:
    """Mirror images left to right, then top to bottom, then turn them counter-clockwise by quarters.

    Parameters
    ----------
    x
        ``(b, c, y, x)`` of any type.
    mirrored, flipped
        Which, ``(b,)`` bool.
    quarters
        Quarter turns, ``(b,)`` whole numbers from 0 to 3, even ones where images are not square; None for none.
    """

    def chosen(which: Tensor, changed: Tensor) -> Tensor:
        return torch.where(which.reshape(-1, 1, 1, 1), changed, x)

    x = chosen(mirrored, x.flip(-1))
    x = chosen(flipped, x.flip(-2))
    if quarters is None:
        return x
    if x.shape[-1] == x.shape[-2]:
        x = chosen(quarters % 2 == 1, x.rot90(1, (-2, -1)))
    return chosen(quarters >= 2, x.flip(-1, -2))


def linear_map(scale: Tensor, angle: Tensor, aspect: Tensor, axis: Tensor) -> Tensor:
    """Compose scale, rotation and aspect to the maps of places (x to the right, y down), ``(b, 2, 2)``.

    Parameters
    ----------
    scale
        Sizes are multiplied by ``SCALE`` to this power, ``(b,)``.
    angle
        Counter-clockwise rotation in radians, ``(b,)``.
    aspect, axis
        Lengths along the direction ``axis`` are multiplied by ``SCALE`` to the power of ``aspect``, and those across
        divided by it, ``(b,)``; before the rotation.
    """
    longer = SCALE**aspect
    stretch = torch.diag_embed(torch.stack([longer, 1 / longer], 1))
    along = _rotation(axis)
    return (SCALE**scale).reshape(-1, 1, 1) * _rotation(angle) @ along @ stretch @ along.mT


def warped(
    image: Inexact[Tensor, "b c y x"], linear: Float[Tensor, "b 2 2"], shift: Float[Tensor, "b 2"]
) -> Inexact[Tensor, "b c y x"]:
    """Move what lies at p, counted from the centre of the image, to ``linear p + shift``.

    Bicubic interpolation; beyond its edges the image is reflected.

    Parameters
    ----------
    image
        ``(b, c, y, x)``, real.
    linear
        ``(b, 2, 2)``, of places (x to the right, y down).
    shift
        ``(b, 2)`` to the right and down, in parts of the sides.
    """
    height, width = image.shape[-2:]
    sides = torch.stack([image.new_full((), width), image.new_full((), height)])
    # grid_sample asks where each place of the answer comes from, in units of half a side.
    back = torch.linalg.inv_ex(linear)[0] * sides / sides[:, None]  # inv itself would ask a GPU whether it could
    offset = -(back @ (2 * shift)[:, :, None])
    grid = functional.affine_grid(torch.cat([back, offset], 2), list(image.shape), align_corners=False)
    return functional.grid_sample(image, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def _rotation(angle: Tensor) -> Tensor:
    """Return counter-clockwise rotations for places whose y points down, ``(b, 2, 2)``."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)


def _angle_labels(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos() - 1, angle.sin()], 1)
