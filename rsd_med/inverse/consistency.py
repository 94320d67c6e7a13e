"""Does an image explain the measurement? The residual of the data against the level of their noise."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rsd_med.corruptions.measurement import Measurement

LIMIT = 1.5
"""Largest noise ratio that counts as explained: above it, most of the residual's energy is not noise."""

RELATIVE_LIMIT = 0.05
"""The limit of the relative residual where the noise level is unknown (σ = 0); and, in a ring of k-space, what may be
left of the signal besides the noise: coil maps are never exact, and near the centre the noise is far below that."""

WHOLE, CENTRE = "the whole scan", "the centre of k-space"

RINGS = ((CENTRE, 1 / 8), ("the inner ring", 1 / 4), ("the middle ring", 1 / 2), ("the outer ring", 1.0))
"""Parts of k-space and where they end, in parts of the highest frequency; each begins where the one before ends."""

CORNERS = "the corners of k-space"
"""What lies beyond the last ring."""

LEAST_ENTRIES = 64
"""A ring of fewer numbers is not judged: the residual of pure noise would vary too much."""


@dataclass(frozen=True)
class Residual:
    """The residual of one image in a part of k-space.

    Attributes
    ----------
    part
        Which part.
    noise_ratio
        ``‖A x − y‖ / (σ √(2N))`` over its N sampled complex entries: about 1 for the true image, less for an image that
        follows the noise; None where σ is 0.
    relative
        ``‖A x − y‖ / ‖y‖``.
    excess
        The residual in parts of the largest that counts as explained.
    """

    part: str
    noise_ratio: float | None
    relative: float
    excess: float

    def figure(self) -> str:
        """Say it in words."""
        if self.noise_ratio is None:
            return f"{self.relative:.1%} of the data (noise level unknown)"
        return f"{self.noise_ratio:.2f} times the noise"


@dataclass(frozen=True)
class Consistency:
    """The data-consistency residual of one image, of the whole scan and of its parts.

    Most of k-space is far from the centre and little but noise: one number for the whole would pass an image that
    misses a fifth of the signal. The centre and the rings around it are therefore judged for themselves, each against
    its own noise and signal, and the worst of all decides. Where the noise level is unknown, rings that hold mostly
    noise cannot be judged, and the whole and the centre decide.

    Attributes
    ----------
    noise_ratio, relative
        Of the whole scan; see `Residual`.
    parts
        The whole scan and its parts.
    """

    noise_ratio: float | None
    relative: float
    parts: tuple[Residual, ...]

    @property
    def worst(self) -> Residual:
        """The part that decides."""
        return max(self.parts, key=lambda part: part.excess)

    @property
    def explains(self) -> bool:
        """Whether the image explains the measurement: the noise accounts for the residual, everywhere."""
        return self.worst.excess <= 1

    def sentence(self) -> str:
        """Say it in words."""
        verdict = "explains the measurement" if self.explains else "does NOT explain the measurement"
        return f"{verdict}: {self.figure()}"

    def figure(self) -> str:
        """Say the residual alone."""
        text = f"residual {self.parts[0].figure()}"
        worst = self.worst
        if self.explains or worst.part == WHOLE:
            return text
        return f"{text}, and {worst.figure()} in {worst.part}, where {worst.relative:.0%} of the signal is left over"


def consistency(image: Tensor, measurement: Measurement) -> Consistency:
    """Compare ``A x`` with the data of one slice.

    Parameters
    ----------
    image
        ``(1, y, x)`` complex64, in scaled units.
    measurement
        A batch of one.
    """
    with torch.no_grad():
        difference = measurement.operator(image[None]) - measurement.data
    measured = measurement.operator.entries(measurement.data).expand_as(difference)
    sigma = float(measurement.sigma[0])
    whole = _residual(WHOLE, difference, measurement.data, int(measured.sum()), sigma)
    parts = [whole]
    for name, inside in _rings(measurement):
        here = measured & inside
        entries = int(here.sum())
        if entries >= LEAST_ENTRIES and (sigma > 0 or name == CENTRE):
            parts.append(_residual(name, difference[here], measurement.data[here], entries, sigma))
    return Consistency(whole.noise_ratio, whole.relative, tuple(parts))


def _rings(measurement: Measurement) -> Iterator[tuple[str, Tensor]]:
    """Yield the parts of k-space, boolean, each broadcasting to the data; nothing where data are no k-space."""
    frequencies = measurement.operator.frequencies(measurement.data)
    if frequencies is None:
        return
    radii = frequencies.norm(dim=-1)
    start = -1.0
    for name, end in RINGS:
        yield name, (radii > start) & (radii <= end)
        start = end
    yield CORNERS, radii > start


def _residual(part: str, difference: Tensor, data: Tensor, entries: int, sigma: float) -> Residual:
    left, energy = float(difference.norm()), float(data.norm())
    noise = sigma * math.sqrt(2 * entries)
    # Of the whole, nothing but noise may be left; of a ring, a little of its signal too.
    share = RELATIVE_LIMIT * energy if part != WHOLE or noise == 0 else 0.0
    allowed = math.hypot(LIMIT * noise, share)
    return Residual(
        part=part,
        noise_ratio=left / noise if noise > 0 else None,
        relative=left / energy if energy > 0 else math.inf,
        excess=left / allowed if allowed > 0 else math.inf,
    )
