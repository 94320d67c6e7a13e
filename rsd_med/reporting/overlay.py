"""One figure of several runs in one chart, with a legend, over all images or a part of them."""

from collections.abc import Mapping, Sequence

from rsd_med.reporting.curves import HEIGHT, WIDTH, Point, axes_of, caption, curve, finite_points, grid, thin
from rsd_med.reporting.markup import Markup, tag
from rsd_med.reporting.numbers import compact, significant

COLOURS = 6
"""Ways to draw a line (`run0` to `run5` in a page's style); more runs begin again."""


def overlay_chart(title: str, runs: Mapping[str, Sequence[Point]], zoom: tuple[float, float] = (0.0, 1.0)) -> Markup:
    """Draw a figure of several runs over images, on common axes.

    Parameters
    ----------
    title
        What is drawn.
    runs
        By name, (images, value) in order; values that are not finite are left out.
    zoom
        Which part of the longest run to show, as shares of its images; the axis of values fits that part.

    Returns
    -------
    Markup
        A ``<figure>``: title, legend with each run's last value in that part, chart. A sentence in place of the chart
        where nothing finite lies in that part.
    """
    finite = {name: finite_points(points) for name, points in runs.items()}
    longest = max((images for points in finite.values() for images, _ in points), default=0.0) or 1.0
    low, high = (share * longest for share in zoom)
    inside = {name: [point for point in points if low <= point[0] <= high] for name, points in finite.items()}
    shown = {name: thin(points) for name, points in inside.items() if points}
    if not shown or not low < high:
        return tag(
            "figure", caption(title, "no values here"), tag("p", "Nothing finite was logged here.", class_="missing")
        )
    x, y = axes_of([point for points in shown.values() for point in points], span=(low, high))
    numbers = {name: number % COLOURS for number, name in enumerate(runs)}
    lines = [tag("g", *curve(points, x, y), class_=f"run{numbers[name]}") for name, points in shown.items()]
    summary = "; ".join(
        f"{name}: from {significant(points[0][1])} at {compact(points[0][0])} images to {significant(points[-1][1])} "
        f"at {compact(points[-1][0])} images"
        for name, points in inside.items()
        if points
    )
    legend = [
        tag("li", tag("span", class_=f"key run{numbers[name]}"), f"{name} {significant(inside[name][-1][1])}")
        for name in shown
    ]
    return tag(
        "figure",
        caption(title, ""),
        tag("ul", *legend, class_="legend"),
        tag(
            "svg",
            *grid(x, y),
            *lines,
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            role="img",
            aria_label=f"{title}. {summary}",
        ),
    )
