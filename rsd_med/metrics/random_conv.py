"""The default feature extractor: a fixed random convolutional bank over four scales. Needs no weights, fits nothing.

Random filters with rectification and pooling carry most of what an architecture sees (Saxe et al. 2011, "On random
weights and unsupervised feature learning"); for a distance between image sets that is enough if the statistics react
to noise, blur, aliasing, intensity and missing modes alike, which `tests/metrics` measures on real images.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsd_med.base.settings import Settings
from rsd_med.metrics.fixed_random import fixed_orthonormal
from rsd_med.metrics.views import checked_view

VERSION = "v0"
FILTER_SIZE = 5
FILTERS = 16
LEVELS = 4
GRID = 4
PIXEL_GRID = 8


class RandomConvFeatures:
    """Fixed random multi-scale convolutional features.

    On each of four levels of a pyramid (halved by averaging), 16 random orthonormal 5x5 filters without mean are
    applied to the brightness; the mean and the root mean square of the rectified responses are pooled on a 4x4
    grid. Together with 8x8 averages of brightness and of two colour differences they are projected by a fixed random
    orthonormal matrix. A grey image has the features of the RGB image with three equal channels.

    Parameters
    ----------
    dimension
        The number of features, at most 512.
    """

    def __init__(self, dimension: int = 96) -> None:
        self.dimension = dimension
        self.name = f"random-conv-{VERSION}-{dimension}"
        area = FILTER_SIZE**2
        basis = np.linalg.qr(np.concatenate([np.ones((area, 1)), np.eye(area)[:, :-1]], axis=1))[0][:, 1:]
        rotations = [fixed_orthonormal(f"random-conv filters {level}", FILTERS, area - 1) for level in range(LEVELS)]
        self._filters = [
            torch.from_numpy(rotation @ basis.T).float().reshape(FILTERS, 1, FILTER_SIZE, FILTER_SIZE)
            for rotation in rotations
        ]
        self._raw = LEVELS * FILTERS * GRID**2 * 2 + 3 * PIXEL_GRID**2
        self._projection = torch.from_numpy(fixed_orthonormal("random-conv projection", dimension, self._raw).T.copy())

    def __call__(self, images: Tensor) -> Tensor:
        """Return float64 ``(N, dimension)`` on the CPU for float32 ``(N, 1 or 3, H, W)`` of any size.

        Raises
        ------
        DataError
            If the images are no view (`magnitude_view`) or contain NaN.
        """
        return self.raw(images).cpu().double() @ self._projection

    @torch.no_grad()
    def raw(self, images: Tensor) -> Tensor:
        """Return the pooled statistics before the projection, float32 ``(N, 2240)``."""
        images = checked_view(images)
        if images.shape[1] == 1:
            brightness = images
            colour = images.new_zeros(len(images), 2, PIXEL_GRID, PIXEL_GRID)
        else:
            red, green, blue = images.unbind(1)
            brightness = images.mean(1, keepdim=True)
            differences = torch.stack([(red - green) / 2**0.5, (red + green - 2 * blue) / 6**0.5], 1)
            colour = functional.adaptive_avg_pool2d(differences, PIXEL_GRID)
        groups = [functional.adaptive_avg_pool2d(brightness, PIXEL_GRID).flatten(1), colour.flatten(1)]
        level = brightness
        for filters in self._filters:
            padded = functional.pad(level, [FILTER_SIZE // 2] * 4, mode="replicate")
            response = functional.conv2d(padded, filters.to(images.device))
            groups.append(functional.adaptive_avg_pool2d(response.abs(), GRID).flatten(1))
            groups.append(functional.adaptive_avg_pool2d(response.square(), GRID).sqrt().flatten(1))
            level = functional.avg_pool2d(level, 2, ceil_mode=True) if min(level.shape[-2:]) > 1 else level
        return torch.cat(groups, 1)


class RandomConvSettings(Settings):
    """The fixed random convolutional bank: offline, the default.

    Attributes
    ----------
    dimension
        The number of features; a Fréchet distance wants at least twice as many images.
    """

    kind: Literal["random_conv"] = "random_conv"
    dimension: int = Field(default=96, ge=8, le=512)

    def build(self, reference: Tensor | None = None, base_dir: Path | None = None) -> RandomConvFeatures:
        """Build the bank.

        Parameters
        ----------
        reference, base_dir
            Not used: every kind is built alike.
        """
        return RandomConvFeatures(self.dimension)
