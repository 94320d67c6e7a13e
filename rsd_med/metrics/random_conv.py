"""The default feature extractor: a fixed random convolutional bank over four scales. Needs no weights, fits nothing.

Random filters with rectification and pooling carry much of what an architecture sees (Saxe et al. 2011, "On random
weights and unsupervised feature learning"). A distance between image sets needs less: statistics that react to noise,
blur, aliasing, intensity and missing modes alike. `tests/metrics/test_ladders.py` measures that on real images, and
the constants below were chosen there, once. Changing any of them changes every number: change ``VERSION`` too.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from rsd_med.metrics.features import FeatureSettings
from rsd_med.metrics.fixed_random import fixed_orthonormal
from rsd_med.metrics.views import checked_view, looked_at

VERSION = "v1"

LEVELS = 4
FILTERS = 12
FILTER_SIZE = 5
# Amplitudes, at the finest level, at which the saturating rectifier |r| / (|r| + knee) bends. The lower one makes
# faint noise in flat regions visible, the higher one keeps a strong edge apart from a soft one.
KNEES = (0.25, 1.0)
# The amplitude of natural images grows with the size of the structure.
KNEE_GROWTH = 1.5

# The second layer looks at the rectified responses of the two finest levels, halved.
STRUCTURE_LEVELS = 2
STRUCTURE_FILTERS = 24
STRUCTURE_FILTER_SIZE = 3
STRUCTURE_GRID = 4

PIXEL_GRID = 8
COLOUR_GRID = 4

# Weights that let each group move the distance for what it alone sees: pixels for intensity and anatomy, texture for
# noise and sharpness, structure for aliasing and modes.
WEIGHTS = {"pixels": 1.0, "texture": 3.0, "structure": 4.0}
# Brings |features|^2 / dimension to about one, where the cubic kernel of KID bends.
SCALE = 10.0

# Responses to this many pixels stay in a processor's cache: twice as fast at 128x128 as a whole batch.
CACHED_PIXELS = 2**16
GPU_PIXELS = 2**21
"""On a GPU, responses to so many take about 1 GiB."""

# Orthonormal axes of colour across (1, 1, 1): red against green, both against blue.
OPPONENTS = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / np.sqrt([[2.0], [6.0]])


class RandomConvFeatures:
    """Fixed random multi-scale convolutional features.

    Three groups of statistics, each projected by a fixed random orthonormal matrix:

    - *pixels*, a quarter of the dimensions: averages of brightness on an 8x8 grid and of colour on a 4x4 grid;
    - *texture*: on each of four levels of a pyramid, halved by averaging, 12 random orthonormal 5x5 filters without
      mean, rectified by ``|r| / (|r| + knee)`` for two knees and averaged over the whole image;
    - *structure*: the positive and negative parts of the responses of the two finest levels, saturated, filtered by a
      second random 3x3 layer over all channels, rectified and averaged on a 4x4 grid.

    Nothing depends on data or on a library's random numbers (`fixed_random`), so that equal names mean comparable
    distances on every machine, up to float32 rounding. A grey image has the features of the RGB image of three equal
    channels. Filters have a size in pixels: sets to be compared must have one resolution.

    Limits, seen on splits that had no part in choosing the constants: every ladder of noise, blur, aliasing and
    intensity rose, but the mildest rung (blur of 0.8 pixels, aliasing at R = 2) was at times only 1.4 to 2 clean
    distances away; aliasing of digits at R = 3 and R = 4 differed by 2 %; and four classes of photographs once lay
    closer than six, so that small differences in the number of modes are not ranked.

    Parameters
    ----------
    dimension
        The number of features: a multiple of 8 from 16 to 256. The more, the more images a Fréchet distance needs.

    Raises
    ------
    ValueError
        If the dimension is none of these.
    """

    def __init__(self, dimension: int = 96) -> None:
        if dimension % 8 or not 16 <= dimension <= 256:
            raise ValueError(
                f"random-conv features have a dimension that is a multiple of 8 from 16 to 256, not {dimension}"
            )
        self.dimension = dimension
        self.name = f"random-conv-{VERSION}-{dimension}"
        self._filters = [_float(_first_layer(level)) for level in range(LEVELS)]
        self._structure_filters = [_float(_second_layer(level)) for level in range(STRUCTURE_LEVELS)]
        sizes = {
            "pixels": (dimension // 4, PIXEL_GRID**2 + 2 * COLOUR_GRID**2),
            "texture": (dimension * 3 // 8, LEVELS * len(KNEES) * FILTERS),
            "structure": (dimension * 3 // 8, STRUCTURE_LEVELS * STRUCTURE_FILTERS * STRUCTURE_GRID**2),
        }
        # Dividing by the root of the rows makes a group's squared norm the mean square of its statistics.
        self._projections = {
            group: torch.from_numpy(
                fixed_orthonormal(f"random-conv-v1 {group}", rows, columns).T * (SCALE * WEIGHTS[group] / rows**0.5)
            )
            for group, (rows, columns) in sizes.items()
        }

    def __call__(self, images: Tensor) -> Tensor:
        """Return float64 ``(N, dimension)`` on the CPU for float32 ``(N, 1 or 3, y, x)`` of any size.

        Parameters
        ----------
        images
            What `magnitude_view` returned, on any device.

        Raises
        ------
        DataError
            If the images are no view or contain NaN.
        """
        pixels = max(1, images.shape[-2] * images.shape[-1])
        most = CACHED_PIXELS if images.device.type == "cpu" else GPU_PIXELS
        statistics = looked_at(images, max(1, most // pixels), self._look)
        groups = statistics.split([len(p) for p in self._projections.values()], 1)
        return torch.cat([g.double() @ p for g, p in zip(groups, self._projections.values(), strict=True)], 1)

    def _look(self, images: Tensor) -> Tensor:
        statistics = self.statistics(images)
        return torch.cat([statistics[group] for group in self._projections], 1).cpu()

    @torch.no_grad()
    def statistics(self, images: Tensor) -> dict[str, Tensor]:
        """Return the groups of statistics before projection, each float32 ``(N, size of the group)``.

        Parameters
        ----------
        images
            Float32 ``(N, 1 or 3, y, x)``.

        Raises
        ------
        DataError
            If the images are no view or contain NaN.
        """
        images = checked_view(images)
        texture: list[Tensor] = []
        structure: list[Tensor] = []
        level = images
        for index, filters in enumerate(self._filters):
            response = _filter(level, filters)
            growth = KNEE_GROWTH**index
            amplitude = response.abs()
            texture += [(amplitude / (amplitude + knee * growth)).mean((2, 3)) for knee in KNEES]
            if index < STRUCTURE_LEVELS:
                parts = torch.cat([response.clamp(min=0), (-response).clamp(min=0)], 1)
                halved = F.avg_pool2d(parts, 2, ceil_mode=True)
                saturated = halved / (halved + KNEES[0] * growth)
                second = _filter(saturated, self._structure_filters[index]).clamp(min=0)
                structure.append(F.adaptive_avg_pool2d(second, STRUCTURE_GRID).flatten(1))
            level = F.avg_pool2d(level, 2, ceil_mode=True)
        return {"pixels": _pixels(images), "texture": torch.cat(texture, 1), "structure": torch.cat(structure, 1)}


def _float(array: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(array).float()


def _first_layer(level: int) -> NDArray[np.float64]:
    """Return RGB filters ``(12, 3, 5, 5)``: without mean, orthonormal on brightness, orthonormal on colour.

    Colour enters along one random direction per filter, so that noise independent between the channels is seen, of
    which an average over the channels hides two thirds.
    """
    area = FILTER_SIZE**2
    without_mean = np.linalg.qr(np.concatenate([np.ones((area, 1)), np.eye(area)[:, :-1]], axis=1))[0][:, 1:].T
    name = f"random-conv-v1 level {level}"
    brightness = fixed_orthonormal(f"{name} brightness", FILTERS, area - 1) @ without_mean
    colour = fixed_orthonormal(f"{name} colour", FILTERS, area - 1) @ without_mean
    angles = np.pi * np.arange(FILTERS) / FILTERS
    hues = np.stack([np.cos(angles), np.sin(angles)], 1) @ OPPONENTS
    filters = brightness[:, None] / 3.0 + hues[:, :, None] * colour[:, None]
    return filters.reshape(FILTERS, 3, FILTER_SIZE, FILTER_SIZE)


def _second_layer(level: int) -> NDArray[np.float64]:
    """Return orthonormal filters ``(24, 24, 3, 3)`` over all rectified responses of a level."""
    channels, side = 2 * FILTERS, STRUCTURE_FILTER_SIZE
    flat = fixed_orthonormal(f"random-conv-v1 level {level} structure", STRUCTURE_FILTERS, channels * side**2)
    return flat.reshape(STRUCTURE_FILTERS, channels, side, side)


def _filter(images: Tensor, filters: Tensor) -> Tensor:
    """Correlate ``(N, channels, y, x)`` with filters at the same size; a grey image is three equal channels."""
    if images.shape[1] == 1 and filters.shape[1] == 3:
        filters = filters.sum(1, keepdim=True)
    padding = filters.shape[-1] // 2
    return F.conv2d(F.pad(images, [padding] * 4, mode="replicate"), filters.to(images.device))


def _pixels(images: Tensor) -> Tensor:
    """Return coarse averages of brightness and colour, ``(N, 96)``."""
    brightness = F.adaptive_avg_pool2d(images.mean(1, keepdim=True), PIXEL_GRID).flatten(1)
    if images.shape[1] == 1:
        return torch.cat([brightness, images.new_zeros(len(images), 2 * COLOUR_GRID**2)], 1)
    opponents = _float(OPPONENTS).to(images.device)[:, :, None, None]
    colour = F.conv2d(F.adaptive_avg_pool2d(images, COLOUR_GRID), opponents)
    return torch.cat([brightness, colour.flatten(1)], 1)


class RandomConvSettings(FeatureSettings):
    """The fixed random convolutional bank: offline, the default."""

    kind: Literal["random_conv"] = "random_conv"
    dimension: int = Field(
        96,
        ge=16,
        le=256,
        multiple_of=8,
        description="the number of features, a multiple of 8; a Fréchet distance wants at least twice as many images",
    )

    def build(self, reference: Tensor | None = None, base_dir: Path | None = None) -> RandomConvFeatures:
        """Build the bank.

        Parameters
        ----------
        reference, base_dir
            Not used: every kind is built alike.
        """
        return RandomConvFeatures(self.dimension)
