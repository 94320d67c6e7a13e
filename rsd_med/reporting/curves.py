"""Line charts over images, drawn as inline SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rsd_med.reporting.markup import Markup, tag
from rsd_med.reporting.numbers import compact, significant

Point = tuple[float, float]

WIDTH, HEIGHT = 300, 180
LEFT, RIGHT, TOP, BOTTOM = 42, 12, 16, 28
MOST_POINTS = 300
FEW_POINTS = 40
LARGEST = 1e300
LOG_RATIO = 8.0
"""Positive values that span more than this are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Axis:
    """Maps values to pixels along one side of a chart.

    Attributes
    ----------
    low, high
        Values at the ends; positive where ``log``.
    start, end
        Pixels at the ends.
    log
        Logarithmic rather than linear.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``."""
        share = (value - self.low) / (self.high - self.low)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Return at most ``most`` round values between the ends."""
        if self.log:
            return _log_ticks(self.low, self.high, most)
        return _linear_ticks(self.low, self.high, most)


def line_chart(
    title: str,
    points: Sequence[Point],
    unit: str = "",
    mark: Point | None = None,
    mark_name: str = "",
    from_zero: bool = False,
) -> Markup:
    """Draw a figure over images.

    Parameters
    ----------
    title
        What is drawn; also the chart's name for screen readers.
    points
        (images, value) in order; values that are not finite are left out.
    unit
        Of the values.
    mark, mark_name
        A point to point out, and what to call it.
    from_zero
        Begin the axis at zero; else it begins there, or is logarithmic, where that shows the values better.

    Returns
    -------
    Markup
        A ``<figure>``: title, last value, chart. A sentence in place of the chart where there is no finite value.
    """
    finite = finite_points(points)
    suffix = f" {unit}" if unit else ""
    if not finite:
        return tag("figure", caption(title, "no values"), tag("p", "Nothing finite was logged.", class_="missing"))
    shown = thin(finite)
    x, y = axes_of([*shown, mark] if mark else shown, from_zero=from_zero)
    latest = f"{significant(finite[-1][1])}{suffix}"
    note = f"{mark_name} {significant(mark[1])}{suffix}" if mark else f"last {latest}"
    summary = (
        f"{title}: from {significant(finite[0][1])} at {compact(finite[0][0])} images to {latest} at "
        f"{compact(finite[-1][0])} images"
    )
    if mark:
        summary += f"; {mark_name}: {significant(mark[1])} at {compact(mark[0])} images"
    drawing = tag(
        "svg",
        *grid(x, y),
        *curve(shown, x, y),
        *(_marked(mark, mark_name, x, y) if mark else []),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=summary,
    )
    return tag("figure", caption(title, note), drawing)


def finite_points(points: Sequence[Point]) -> list[Point]:
    """Return the points whose values can be drawn."""
    return [(images, value) for images, value in points if abs(value) < LARGEST]


def caption(title: str, note: str) -> Markup:
    """Return what stands above a chart."""
    return tag("figcaption", tag("b", title), " ", tag("span", note))


def thin(points: Sequence[Point]) -> list[Point]:
    """Average neighbours until a chart can show them."""
    size = -(-len(points) // MOST_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def axes_of(everything: Sequence[Point], *, from_zero: bool = False, span: Point | None = None) -> tuple[Axis, Axis]:
    """Return the axes that show all points: images from zero, or those of ``span``, and values."""
    values = [value for _, value in everything]
    low, high = min(values), max(values)
    log = low > 0 and high / low > LOG_RATIO and not from_zero
    if log:
        low, high = low / 1.12, high * 1.12
    else:
        margin = 0.06 * (high - low) or abs(high) / 2 or 1.0
        # Zero is a meaningful end for what is never negative; a curve far above it would be squashed.
        low, high = (0.0 if low >= 0 and (from_zero or low < 0.5 * high) else low - margin), high + margin
    first, last = span or (0.0, max(images for images, _ in everything) or 1.0)
    return Axis(first, last, LEFT, WIDTH - RIGHT), Axis(low, high, HEIGHT - BOTTOM, TOP, log)


def grid(x: Axis, y: Axis) -> list[Markup]:
    """Draw axes, ticks and their labels."""
    parts = []
    ticks = y.ticks(5)
    for value, label in zip(ticks, _labels(ticks), strict=True):
        at = f"{y(value):.1f}"
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="rule"))
        parts.append(tag("text", label, x=LEFT - 6, y=at, dy="0.35em", text_anchor="end"))
    if y.log:
        parts.append(tag("text", "log scale", x=LEFT, y=TOP - 5))
    parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis"))
    places = x.ticks(4)
    for number, (value, written) in enumerate(zip(places, _labels(places), strict=True)):
        label = written if number else f"{compact(value)} images"
        anchor = "start" if not number else "middle" if x(value) < WIDTH - RIGHT - 12 else "end"
        parts.append(tag("text", label, x=f"{x(value):.1f}", y=HEIGHT - BOTTOM + 17, text_anchor=anchor))
    return parts


def _labels(ticks: Sequence[float]) -> list[str]:
    """Write ticks with as many digits as tell them apart."""
    for digits in range(4, 12):
        labels = [compact(tick, digits) for tick in ticks]
        if len(set(labels)) == len(labels):
            break
    return labels


def curve(points: Sequence[Point], x: Axis, y: Axis) -> list[Markup]:
    """Draw a line through points, and dots where they are few."""
    places = [(x(images), y(value)) for images, value in points]
    parts = []
    if len(places) > 1:
        parts.append(tag("polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in places), class_="curve"))
    if len(places) <= FEW_POINTS:
        parts += [tag("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=2.2, class_="dot") for a, b in places]
    return parts


def _marked(mark: Point, name: str, x: Axis, y: Axis) -> list[Markup]:
    at, height = round(x(mark[0]), 1), round(y(mark[1]), 1)
    shift, anchor = (-5, "end") if at > (LEFT + WIDTH) / 2 else (5, "start")
    return [
        tag("line", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM, class_="mark"),
        tag("circle", cx=at, cy=height, r=5, class_="ring"),
        tag("text", name, x=at + shift, y=TOP + 8, text_anchor=anchor, class_="name"),
    ]


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if _count(low, high, factor * power) <= most)
    first = math.ceil(low / step - 1e-9)
    # Rounded through text: 3 × 0.1 is to be written 0.3.
    return [float(f"{(first + i) * step:.10g}") for i in range(_count(low, high, step))]


def _count(low: float, high: float, step: float) -> int:
    return math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= most:
            return inside
    return inside[:: -(-len(inside) // most)]
