"""The level of white noise in a set of images, from the noisy images alone.

Every patch of an image is y = x + n. In an orthonormal basis that does not depend on n, each coefficient of a patch has
variance σ² plus that of the image content; coefficients of one patch share the content, but no noise. Hence three
choices, none of which the noise can bias, find where content adds least:

1. directions: the eigenvectors of the covariance of all patches with the smallest eigenvalues (Pyatykh, Hesser and
   Zheng, Image noise level estimation by principal component analysis, IEEE Trans. Image Process. 22, 2013);
2. patches: those with the least energy along the other, strong directions, where edges and texture show;
3. how many of either: content can only add to the variance, so the smallest of all variances is the best, after an
   allowance for chance.

Directions and numbers are found on one half of the images and the variance is measured on the other, and the other way
round: the smallest of many would else be too small by chance (as in the eigenvalues of Chen, Zhu and Heng, An efficient
statistical method for image noise level estimation, ICCV 2015, which are corrected for it by a model).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import unfold

from rsd_med.base.errors import DataError
from rsd_med.base.randomness import generator_for
from rsd_med.operators.channels import to_channels

PATCH = 6
"""Side of a patch in pixels."""

_STRIDE = 3
_TOGETHER = 256
"""Images that are cut up at once."""

_WEAKEST = (1 / 16, 1 / 8, 1 / 4)
"""Parts of all directions that may be taken for those without content."""

_STRONG = 1 / 2
"""Part of all directions that tell how much content a patch has; disjoint from the weakest."""

_FLATTEST = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Parts of all patches that may be taken for those without content."""

_FEWEST = 200
"""Patches for each half, below which nothing is estimated."""

_ALLOWANCE = 2.0
"""Standard errors that are added to each variance before they are compared."""

_CLIPPED = 1e-3
"""Part of all pixels at the smallest or largest value, above which the images count as clipped."""

_REACH = 3.5
"""Standard deviations of noise from a level of clipping beyond which it changes nothing."""

_RESAMPLED = 200
"""Bootstrap samples behind the standard error."""

_ROUNDS = 60
"""Steps of the fixed point, far more than it takes."""

_BACKGROUND = (0.865, 0.95)
"""Mean over root mean square of magnitudes without signal: 0.886, of SNR 3 0.956, and less where a mask cuts edges."""

_NOTHING = 1e-6
"""Noise below this part of the spread of the pixels is rounding."""


@dataclass(frozen=True)
class BlindEstimate:
    """The noise of a set of images.

    Attributes
    ----------
    sigma
        Standard deviation per real component, in the units of the images.
    error
        Standard error of ``sigma``, from a bootstrap over images. Chance alone: what content adds comes on top.
    images
        How many images were looked at.
    excess
        By how much the fourth moment of the chosen coefficients exceeds that of Gaussian noise, as a part of it. 0 for
        Gaussian noise; where there is no such noise, and content is taken for it, it is larger.
    clipped
        Part of the pixels that were cut off at the smallest or largest value.
    """

    sigma: float
    error: float
    images: int
    excess: float
    clipped: float


@dataclass(frozen=True)
class _Patches:
    """Patches of some images without their means.

    Attributes
    ----------
    values
        Coefficients in an orthonormal basis, (n, d) float32.
    image
        Which image each comes from, (n,).
    room
        How far its mean is from a level of clipping, (n,).
    images
        How many images there were.
    """

    values: Tensor
    image: Tensor
    room: Tensor
    images: int

    def within(self, reach: float) -> "_Patches":
        """Return the patches whose mean is further than ``reach`` from clipping."""
        far = self.room > reach
        return replace(self, values=self.values[far], image=self.image[far], room=self.room[far])


def estimate_white_noise(images: Tensor) -> BlindEstimate:
    """Estimate the standard deviation of white Gaussian noise from noisy images.

    Areas that hold one and the same value, such as a background masked after the measurement, say nothing about noise
    and are left out. Where pixels are cut off at the smallest or largest value, so are patches within reach of it:
    their mean decides, of which the noise of other directions is independent.

    Parameters
    ----------
    images
        In random order, (n, channels, y, x) float32, or complex; then both parts count as two channels. Their
        noise is independent between pixels and channels and has one level: of several, the lowest is found. At least
        two images.

    Raises
    ------
    DataError
        If there are too few images or patches, or no noise.
    """
    images = to_channels(images).float()
    height, width = images.shape[-2:]
    if len(images) < 2:
        raise DataError(f"Of {len(images)} images, noise cannot be told from what they show; state sigma.")
    if min(height, width) < PATCH:
        raise DataError(f"Images of {height} x {width} pixels are too small to measure their noise; state sigma.")
    low, high, clipped = _clipping(images)
    halves = (_patches(images[0::2], low, high), _patches(images[1::2], low, high))
    if clipped == 0:
        estimate = _estimate(halves)
    else:  # the mid-tones to begin with, then as far towards the ends as the noise allows
        estimate = _estimate(tuple(half.within(0.25 * float(images.max() - images.min())) for half in halves))
        for _ in range(3):
            estimate = _estimate(tuple(half.within(_REACH * estimate.sigma) for half in halves))
    if not estimate.sigma > _NOTHING * float(images.std()):
        raise DataError("The images hold no noise that could be measured; if they are free of noise, say so.")
    return replace(estimate, images=len(images), clipped=clipped)


def _clipping(images: Tensor) -> tuple[float, float, float]:
    """Return the levels at which pixels are cut off (infinite where they are not) and the part of pixels that are."""
    levels, total = [-math.inf, math.inf], 0.0
    free = ~_constant(images)
    for number, level in enumerate((images.min(), images.max())):
        clipped = float(((images == level) & free).float().mean())
        if clipped > _CLIPPED:
            levels[number] = float(level)
            total += clipped
    return levels[0], levels[1], total


def _constant(images: Tensor) -> Tensor:
    """Return which pixels lie in a square of 2 x 2 equal values in any channel, bool, (n, 1, y, x)."""
    across = images[..., :-1] == images[..., 1:]
    square = across[..., :-1, :] & across[..., 1:, :] & (images[..., :-1, :-1] == images[..., 1:, :-1])
    square = square.any(1, keepdim=True)
    constant = torch.zeros_like(images[:, :1], dtype=torch.bool)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            constant[..., rows, columns] |= square
    return constant


def _patches(images: Tensor, low: float, high: float) -> _Patches:
    """Cut images into overlapping patches without constant areas, and split off the mean of each channel."""
    basis = _without_mean().to(images)
    values, numbers, rooms = [], [], []
    for number, block in zip(torch.arange(len(images)).split(_TOGETHER), images.split(_TOGETHER), strict=True):
        cut = unfold(block, PATCH, stride=_STRIDE).unflatten(1, (-1, PATCH**2))  # (n, C, pixels, patches)
        varied = ~unfold(_constant(block).float(), PATCH, stride=_STRIDE).any(1)
        cut = cut.permute(0, 3, 1, 2)[varied]
        mean = cut.mean(-1)
        rooms.append(torch.minimum(mean.amin(1) - low, high - mean.amax(1)))
        values.append((cut @ basis).flatten(1))
        numbers.append(number[:, None].expand(varied.shape)[varied])
    return _Patches(torch.cat(values), torch.cat(numbers), torch.cat(rooms), len(images))


def _without_mean() -> Tensor:
    """Return an orthonormal basis of the patches with mean zero, (pixels, pixels - 1)."""
    pixels = PATCH**2
    first = torch.cat((torch.ones(pixels, 1), torch.eye(pixels)[:, 1:]), dim=1).double()
    return torch.linalg.qr(first).Q[:, 1:]


def _estimate(halves: tuple[_Patches, ...]) -> BlindEstimate:
    """Choose on one half, measure on the other, and the other way round."""
    for half in halves:
        if len(half.image) < _FEWEST:
            raise DataError(
                "The images have too few places where their noise could be measured (too few, constant, or clipped); "
                "state sigma."
            )
    first, second = halves
    moments = (_Moments.of(first, _directions(second)), _Moments.of(second, _directions(first)))
    variance, excess = _measure(moments, None)
    generator = generator_for(0, "blind noise/bootstrap")
    resampled = torch.stack([_measure(moments, generator)[0] for _ in range(_RESAMPLED)])
    sigma = float(variance.clamp_min(0).sqrt())
    return BlindEstimate(
        sigma=sigma, error=float(resampled.clamp_min(0).sqrt().std()), images=0, excess=float(excess), clipped=0.0
    )


def _directions(patches: _Patches) -> Tensor:
    """Return the eigenvectors of the patches' covariance, (d, d), the weakest first."""
    values = patches.values
    covariance = torch.zeros(values.shape[1], values.shape[1], dtype=torch.float64)
    for block in values.split(1 << 14):
        covariance += (block.T @ block).double()
    return torch.linalg.eigh(covariance).eigenvectors.to(values)


@dataclass(frozen=True)
class _Moments:
    """Sums over the coefficients of each image, for every choice of directions (m) and patches (q), float64.

    Attributes
    ----------
    count, second, fourth
        (images, m, q): number of coefficients, and sums of their squares and fourth powers.
    """

    count: Tensor
    second: Tensor
    fourth: Tensor

    @classmethod
    def of(cls, patches: _Patches, directions: Tensor) -> "_Moments":
        """Sort the patches by their energy along the strong directions, and add up that along the weak ones."""
        size = len(directions)
        weak = [max(1, round(fraction * size)) for fraction in _WEAKEST]
        content, second, fourth = [], [], []
        for block in patches.values.split(1 << 14):
            coefficients = block @ directions
            content.append(coefficients[:, round((1 - _STRONG) * size) :].square().sum(1))
            squares = coefficients[:, : max(weak)].square()
            second.append(torch.stack([squares[:, :m].sum(1) for m in weak], 1))
            fourth.append(torch.stack([squares[:, :m].square().sum(1) for m in weak], 1))
        energy, squared, quartic = torch.cat(content), torch.cat(second).double(), torch.cat(fourth).double()
        image, order = patches.image, energy.argsort()
        shape = (patches.images, len(weak))
        counts, seconds, fourths = [], [], []
        for fraction in _FLATTEST:
            flattest = order[: max(_FEWEST // 4, round(fraction * len(order)))]
            patches_of = torch.zeros(patches.images, dtype=torch.float64)
            patches_of.index_add_(0, image[flattest], torch.ones(len(flattest), dtype=torch.float64))
            counts.append(patches_of[:, None] * torch.tensor(weak, dtype=torch.float64))
            seconds.append(torch.zeros(shape, dtype=torch.float64).index_add_(0, image[flattest], squared[flattest]))
            fourths.append(torch.zeros(shape, dtype=torch.float64).index_add_(0, image[flattest], quartic[flattest]))
        return cls(torch.stack(counts, -1), torch.stack(seconds, -1), torch.stack(fourths, -1))

    def total(self, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sums over all images, or over as many drawn with replacement, each (m q,)."""
        images = len(self.count)
        weights = torch.ones(images, dtype=torch.float64)
        if generator is not None:
            drawn = torch.randint(images, (images,), generator=generator)
            weights = torch.bincount(drawn, minlength=images).double()
        count, second, fourth = (
            torch.einsum("i,imq->mq", weights, sums).flatten() for sums in (self.count, self.second, self.fourth)
        )
        return count, second, fourth


def _measure(moments: Sequence[_Moments], generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return variance and excess: each half's smallest variance is looked up in the other half."""
    totals = [half.total(generator) for half in moments]
    bounds = []
    for count, second, _ in totals:
        independent = count * (_STRIDE / PATCH) ** 2  # each pixel is in several patches
        bound = second / count * (1 + _ALLOWANCE * (2 / independent).sqrt())
        bounds.append(int(bound.where(count > 0, torch.inf).argmin()))
    variances, excesses = [], []
    for (count, second, fourth), smallest in zip(totals, reversed(bounds), strict=True):
        variances.append(second[smallest] / count[smallest].clamp_min(1))
        excesses.append(fourth[smallest] * count[smallest] / (3 * second[smallest].square()) - 1)
    return torch.stack(variances).mean(), torch.stack(excesses).mean()


def estimate_rician_noise(images: Tensor) -> BlindEstimate:
    """Estimate the noise per real component behind magnitude images, from their background.

    Without signal, the mean square of a patch of k pixels is 2 s² times a variable of the law Gamma(k)/k, and signal
    only adds to it. So the lower end of all mean squares belongs to the background, whatever part of the image that is:
    below c s² their mean is s² P(k + 1, kc)/P(k, kc), P the regularised incomplete gamma function, which is solved for
    s² from below. Where even these patches are no background (mean over root mean square 0.886, by Rayleigh's law), as
    it was masked, the signal is taken to be strong enough for Gaussian noise.

    Parameters
    ----------
    images
        Magnitudes in random order, (n, 1, y, x) float32, where 0 is no signal. At least two. Constant areas are left
        out.

    Raises
    ------
    DataError
        If there are too few images or patches, or no noise.

    References
    ----------
    Gudbjartsson and Patz, The Rician distribution of noisy MRI data, Magn. Reson. Med. 34, 1995.
    """
    if len(images) < 2 or min(images.shape[-2:]) < PATCH or bool((images < 0).any()):
        raise DataError("Magnitudes are measured in at least two images of no value below 0; state the noise.")
    pixels = PATCH**2
    cut = unfold(images, PATCH, stride=PATCH)  # (n, pixels, patches), each pixel once
    varied = ~unfold(_constant(images).float(), PATCH, stride=PATCH).any(1)
    square, mean = cut.square().mean(1) / 2, cut.mean(1)
    if int(varied.sum()) < 2 * _FEWEST:
        raise DataError("The images have too few places where their noise could be measured; state the noise.")
    reach = 1 + pixels**-0.5
    below = torch.special.gammainc(*torch.tensor([[pixels + 1.0, pixels], [pixels * reach] * 2], dtype=torch.float64))
    shrinkage = float(below[0] / below[1])

    def solve(square: Tensor) -> float:
        """Go up from the lowest patches to the fixed point."""
        variance = float(square.quantile(0.02)) if square.numel() < 1 << 24 else float(square.median())
        for _ in range(_ROUNDS):
            background = square[square <= reach * variance]
            variance = float(background.double().mean()) / shrinkage
        return variance

    squares = square[varied].double()
    variance = solve(squares)
    background = varied & (square <= reach * variance)
    rayleigh = float(mean[background].mean() / (2 * square[background]).mean().sqrt())
    if not _BACKGROUND[0] <= rayleigh <= _BACKGROUND[1]:
        return estimate_white_noise(images)
    generator = generator_for(0, "blind noise/bootstrap")
    resampled = []
    for _ in range(_RESAMPLED // 4):
        drawn = torch.randint(len(images), (len(images),), generator=generator)
        resampled.append(solve(square[drawn][varied[drawn]].double()) ** 0.5)
    ratio = rayleigh / (math.pi**0.5 / 2) - 1
    return BlindEstimate(variance**0.5, float(torch.tensor(resampled).std()), len(images), ratio, 0.0)
