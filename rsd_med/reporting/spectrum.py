"""What a spectrum says of grain and sharpness, from the ratios in the record; and its chart."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rsd_med.metrics.spectrum import UP_TO
from rsd_med.reporting.curves import Axis
from rsd_med.reporting.markup import Markup, tag
from rsd_med.reporting.numbers import compact
from rsd_med.reporting.record import RunRecord, finite_numbers, mapping

GRAIN = 0.2
"""Power within a fifth of the reference's up to 0.9 of Nyquist shows neither grain nor blur."""

WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 34
LEAST, MOST = 0.05, 50.0


@dataclass(frozen=True)
class SpectrumOf:
    """The power of a model as a multiple of the reference's.

    Attributes
    ----------
    frequencies, ratios
        In units of Nyquist, and of the reference's power.
    """

    frequencies: tuple[float, ...]
    ratios: tuple[float, ...]

    @property
    def most(self) -> tuple[float, float]:
        """Return where up to 0.9 of Nyquist there is most power for the reference's, and the ratio."""
        return max(self._inside, key=lambda item: item[1])

    @property
    def least(self) -> tuple[float, float]:
        """Return where up to 0.9 of Nyquist there is least, and the ratio."""
        return min(self._inside, key=lambda item: item[1])

    @property
    def deviation(self) -> float:
        """Return the largest departure from 1 up to 0.9 of Nyquist."""
        return max(self.most[1] - 1, 1 - self.least[1])

    @property
    def corner(self) -> float:
        """Return the largest ratio beyond: where a grid of pixels shows."""
        return max((ratio for where, ratio in self._all if where > UP_TO), default=1.0)

    @property
    def _all(self) -> list[tuple[float, float]]:
        return list(zip(self.frequencies, self.ratios, strict=True))

    @property
    def _inside(self) -> list[tuple[float, float]]:
        return [item for item in self._all if item[0] <= UP_TO]


def spectrum_of(record: RunRecord, name: str) -> SpectrumOf | None:
    """Return the spectrum of a model, or of ``floor``, from the record; None where there is none."""
    spectrum = mapping(record.metrics, "spectrum")
    ratios = record.floor.get("spectrum") if name == "floor" else mapping(spectrum, "over").get(name)
    frequencies, ratios = finite_numbers(spectrum.get("frequencies")), finite_numbers(ratios)
    if len(frequencies) != len(ratios) or not any(where <= UP_TO for where in frequencies) or min(ratios) <= 0:
        return None
    return SpectrumOf(frequencies, ratios)


def spectrum_chart(curves: Mapping[str, tuple[SpectrumOf, str]]) -> Markup:
    """Draw the power of models as a multiple of the reference's, over frequency.

    Parameters
    ----------
    curves
        By title: the spectrum, and the class of its line.

    Returns
    -------
    Markup
        A ``<figure>``. The shaded band is within 20 %, up to 0.9 of Nyquist.
    """
    x, y = Axis(0.0, 1.45, LEFT, WIDTH - RIGHT), Axis(LEAST, MOST, HEIGHT - BOTTOM, TOP, log=True)
    top, bottom = y(1 + GRAIN), y(1 - GRAIN)
    band = tag("rect", x=x(0), y=f"{top:.1f}", width=f"{x(UP_TO) - x(0):.1f}", height=f"{bottom - top:.1f}")
    drawing = tag(
        "svg",
        tag("g", band, class_="band"),
        *_grid(x, y),
        *(_curve(spectrum, kind, x, y) for spectrum, kind in curves.values()),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label="; ".join(_described(title, spectrum) for title, (spectrum, _) in curves.items()),
    )
    keys = [tag("span", title, class_=f"key {kind}") for title, (_, kind) in curves.items()]
    caption = tag("figcaption", tag("b", "Power at each frequency, as a multiple of the reference’s"), *keys)
    return tag("figure", caption, drawing, class_="spectrum")


def _grid(x: Axis, y: Axis) -> list[Markup]:
    parts = []
    for value in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0):
        at = f"{y(value):.1f}"
        rule = "rule one" if value == 1 else "rule"
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_=rule))
        parts.append(tag("text", f"{compact(value)} ×", x=LEFT - 6, y=at, dy="0.35em", text_anchor="end"))
    for value, label in ((0.25, "0.25"), (0.5, "0.5"), (0.9, "0.9"), (1.41, "corner")):
        at = f"{x(value):.1f}"
        parts.append(tag("line", x1=at, x2=at, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM + 4, class_="axis"))
        anchor = "end" if value > 1 else "middle"
        parts.append(tag("text", label, x=at, y=HEIGHT - BOTTOM + 16, text_anchor=anchor))
    parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis"))
    parts.append(tag("text", "frequency, in units of Nyquist", x=LEFT, y=HEIGHT - 4))
    return parts


def _curve(spectrum: SpectrumOf, kind: str, x: Axis, y: Axis) -> Markup:
    places = [
        f"{x(where):.1f},{y(min(max(ratio, LEAST), MOST)):.1f}"
        for where, ratio in zip(spectrum.frequencies, spectrum.ratios, strict=True)
    ]
    return tag("polyline", points=" ".join(places), class_=f"curve {kind}")


def _described(title: str, spectrum: SpectrumOf) -> str:
    (low_at, low), (high_at, high) = spectrum.least, spectrum.most
    corner = f", up to {compact(spectrum.corner, 2)} beyond" if math.isfinite(spectrum.corner) else ""
    return f"{title}: from {compact(low, 2)} at {low_at:.2f} to {compact(high, 2)} at {high_at:.2f} of Nyquist{corner}"
