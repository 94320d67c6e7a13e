"""What a run says about a noise level that it has estimated."""

from collections.abc import Mapping
from typing import Any

from rsd_med.reporting.numbers import significant, whole
from rsd_med.reporting.record import mapping, number

EXCESS = 0.1
"""Departure from the law of the noise, above which an estimate is doubted: with noise it stays below 0.02."""


def describe_noise_level(corruption: Mapping[str, Any]) -> str | None:
    """Say what the noise level was estimated at: ``σ estimated at 0.1987 ± 0.0006 from 2,000 images``.

    Parameters
    ----------
    corruption
        Of a resolved protocol, as plain values.

    Returns
    -------
    str or None
        None where the level was stated.
    """
    estimated = mapping(corruption, "estimated")
    level = number(corruption, "sigma") or number(corruption, "noise")
    if not estimated or not level:
        return None
    error, images = number(estimated, "error"), number(estimated, "images")
    return f"σ estimated at {significant(level, 4)} ± {significant(error, 1)} from {whole(images)} images"


def noise_level_doubts(corruption: Mapping[str, Any]) -> list[str]:
    """List what speaks against an estimated noise level."""
    estimated, doubts = mapping(corruption, "estimated"), []
    clipped, excess = number(estimated, "clipped") or 0.0, number(estimated, "excess") or 0.0
    if clipped:
        doubts.append(
            f"{significant(100 * clipped, 2)} % of the pixels are cut off at the smallest or largest value: σ was "
            "estimated away from there, but training takes their noise for Gaussian, which it is not."
        )
    if abs(excess) > EXCESS:
        doubts.append(
            f"What was taken for noise departs from the law of it (by {significant(excess, 2)}): the images may hold "
            "next to no noise, or texture everywhere, and the estimated σ may be too large."
        )
    return doubts
