"""Numbers as a person reads them: with as many digits as mean something, and with their unit."""

import math

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def significant(value: float | None, digits: int = 3) -> str:
    """Write ``value`` with ``digits`` significant digits: ``19.5``, ``0.0412``, ``12,345``, ``3.10 × 10⁻⁶``.

    None becomes a dash, and what is no number says so.
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    if value < 0:
        return "−" + significant(-value, digits)
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])
    if exponent < -4 or exponent >= 9:
        return f"{value / 10.0**exponent:.{digits - 1}f} × 10{str(exponent).translate(_RAISED)}"
    return f"{value:,.{max(digits - 1 - exponent, 0)}f}"


def spread(value: float | None, deviation: float | None, factor: float = 1.0) -> str:
    """Write a figure with its standard deviation, where there is one: ``1.24 ± 0.031``."""
    text = significant(None if value is None else value * factor)
    return text if deviation is None else f"{text} ± {significant(deviation * factor, 2)}"


def whole(value: float | None) -> str:
    """Write a count: ``12,345``."""
    return "–" if value is None else f"{value:,.0f}" if math.isfinite(value) else "not finite"


def compact(value: float, digits: int = 4) -> str:
    """Write a number for an axis, with at most ``digits`` significant digits: ``0.5``, ``20 k``, ``1.5 M``."""
    if value < 0:
        return "−" + compact(-value, digits)
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{letter}"
    return f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """Write a time: ``0.42 s``, ``35 s``, ``4 min 40 s``, ``1 h 12 min``, ``2 d 3 h``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{significant(seconds, 2)} s"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def percent(share: float) -> str:
    """Write a share: ``87 %``, ``0.11 %``."""
    return f"{significant(100 * share, 2)} %"


def times(ratio: float) -> str:
    """Write a factor: ``0.26 ×``, ``33 ×``."""
    return f"{significant(ratio, 2)} ×"
