"""Bringing images to one size: crop, pad and resample, with a record of where each pixel came from."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from rsd_med.data.scan import Geometry


@dataclass(frozen=True)
class Fitted:
    """An image on its way to another size.

    Attributes
    ----------
    image
        (C, H, W), float32 or complex64.
    factor
        For y and x: pixels of the original per pixel now.
    offset
        For y and x: where pixel 0 lies in the original, ``original = factor * now + offset``.
    """

    image: Tensor
    factor: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def boxed(self, height: int, width: int, background: float = 0.0) -> "Fitted":
        """Crop or pad each axis to the given length around the centre (index N // 2, as the Fourier transform's)."""
        image, offset = self.image, list(self.offset)
        for axis, length in ((0, height), (1, width)):
            before = length // 2 - image.shape[axis + 1] // 2
            after = length - image.shape[axis + 1] - before
            if before < 0 or after < 0:
                kept = image.shape[axis + 1] + min(before, 0) + min(after, 0)
                image = image.narrow(axis + 1, max(-before, 0), kept)
            if before > 0 or after > 0:
                sides = [max(before, 0), max(after, 0)]
                padding = sides if axis == 1 else [0, 0, *sides]
                image = functional.pad(image, padding, value=background)
            offset[axis] -= self.factor[axis] * before
        return replace(self, image=image, offset=(offset[0], offset[1]))

    def resized(self, height: int, width: int) -> "Fitted":
        """Resample with a triangle filter as wide as the new pixels (antialiased); a complex image by its parts."""
        old_height, old_width = self.image.shape[-2:]
        if (old_height, old_width) == (height, width):
            return self
        steps = (old_height / height, old_width / width)
        factor = (self.factor[0] * steps[0], self.factor[1] * steps[1])
        # Pixel edges stay where they are, so centres move by half the change of the pixel's width.
        shift = [self.offset[axis] + self.factor[axis] * (steps[axis] - 1) / 2 for axis in (0, 1)]
        return Fitted(_resampled(self.image, height, width), factor, (shift[0], shift[1]))

    def geometry(self, original: Geometry) -> Geometry:
        """Return the geometry of this image, given the original's."""
        affine, spacing = original.affine, original.spacing_mm
        if affine is not None:
            step = np.eye(4)
            for axis in (0, 1):
                step[axis, axis], step[axis, 3] = self.factor[axis], self.offset[axis]
            affine = affine @ step
        if spacing is not None:
            spacing = (spacing[0] * self.factor[0], spacing[1] * self.factor[1], *spacing[2:])
        return Geometry(affine, spacing)


def fit(
    image: Tensor,
    *,
    crop: int | None = None,
    resize: int | None = None,
    pad: int | None = None,
    keep_all: bool = False,
    background: float = 0.0,
) -> Fitted:
    """Crop, resample and pad an image, in this order; what is None is left out.

    Parameters
    ----------
    image
        (C, H, W), float32 or complex64.
    crop
        Side of the central square that is kept.
    resize
        Side of the square the image is resampled to. An image that is not square is first made one: cut to its
        shorter side, or with ``keep_all`` padded to its longer side.
    pad
        Side of the square the image is placed in the middle of; a longer axis is cut.
    keep_all
        Whether ``resize`` pads rather than cuts.
    background
        The value of padded pixels.

    Returns
    -------
    Fitted
        The image, and where its pixels came from.
    """
    fitted = Fitted(image)
    if crop is not None:
        fitted = fitted.boxed(crop, crop, background)
    if resize is not None:
        height, width = fitted.image.shape[-2:]
        side = max(height, width) if keep_all else min(height, width)
        fitted = fitted.boxed(side, side, background).resized(resize, resize)
    if pad is not None:
        fitted = fitted.boxed(pad, pad, background)
    return fitted


def _resampled(image: Tensor, height: int, width: int) -> Tensor:
    if image.is_complex():
        parts = torch.view_as_real(image).movedim(-1, 0)
        return torch.complex(*(_resampled(part.contiguous(), height, width) for part in parts))
    batch = image[None]
    return functional.interpolate(batch, (height, width), mode="bilinear", antialias=True, align_corners=False)[0]
