"""What the first page shows of a held-out case: the worker makes it before anybody asks, the page asks for the same."""

SPEEDS = (2.0, 4.0, 6.0, 8.0)
"""By how much complete scans can be undersampled."""
BASELINE = "l1_wavelet"
"""The classical method that a first look shows beside a learned one."""
SAMPLES = 4
"""Samples of a learned method, unless others are asked for."""


def usual_speed(trained: float | None) -> float:
    """Return the acceleration that is nearest to that of a prior's training."""
    return min(SPEEDS, key=lambda speed: abs(speed - (trained or 4.0)))
