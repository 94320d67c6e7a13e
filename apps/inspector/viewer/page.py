"""The viewer's page, and the frame that shows it inside another page."""

import html
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from rsd_med.data.display import volume_planes

from ..notice import NOTICE
from ..web.artefacts import Pane
from .volume_view import volume_place

STATIC = Path(__file__).parent / "static"
MOST_PANES = 16
AXES = ("Slices", "Rows", "Columns")
"""What is counted across z, y and x where nobody knows how the patient lies."""
NOTES = {
    "grey": "",
    "uncertainty": "Standard deviation over the samples; not a probability of error.",
    "difference": "Signed difference; mid-grey is none.",
}
# The frame's own policy, stricter than the page around it: nothing inline, nothing from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)


def viewer_frame(panes: Sequence[Pane], height: int = 680) -> str:
    """Return the HTML of a frame with the viewer, for a page of the same server.

    Parameters
    ----------
    panes
        What to show, side by side; at most `MOST_PANES`.
    height
        Of the frame, in CSS pixels.

    Raises
    ------
    ValueError
        If there is none, or there are more than `MOST_PANES`.
    """
    if not 1 <= len(panes) <= MOST_PANES:
        raise ValueError(f"the viewer shows one to {MOST_PANES} pictures, not {len(panes)}")
    address = "/viewer?panes=" + ",".join(pane.artefact for pane in panes)
    return (
        f'<iframe class="viewer" src="{html.escape(address)}" title="Viewer: '
        f'{html.escape(", ".join(pane.title for pane in panes))}" width="100%" height="{int(height)}" '
        'style="border:0" loading="lazy" allowfullscreen></iframe>'
    )


def viewer_html(panes: Sequence[Pane], shapes: Sequence[tuple[int, ...]], slice_number: int | None = None) -> str:
    """Return the viewer's page.

    Parameters
    ----------
    panes
        What to show.
    shapes
        (z, y, x) of each.
    slice_number
        From 0: which slice the pictures for browsers without scripts show; the middle one if None.
    """
    described = [describe(pane, shape) for pane, shape in zip(panes, shapes, strict=True)]
    return Template((STATIC / "page.html").read_text(encoding="utf-8")).substitute(
        body=body_html(),
        title=html.escape("Viewer: " + ", ".join(pane.title for pane in panes)),
        panes=html.escape(json.dumps(described, allow_nan=False)),
        plain=_plain(panes, shapes, slice_number),
        notice=html.escape(NOTICE),
    )


def body_html() -> str:
    """Return the viewer itself: tools, places for pictures, measurements, dialogs; its script is ``controls.js``."""
    return Template((STATIC / "body.html").read_text(encoding="utf-8")).substitute(notice=html.escape(NOTICE))


def describe(pane: Pane, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what the page needs to know of a pane, as plain values.

    Parameters
    ----------
    pane
        What is shown.
    shape
        (z, y, x).
    """
    spacing = pane.spacing
    usable = spacing is not None and len(spacing) == 3 and all(0 < step < float("inf") for step in spacing)
    return {
        "title": pane.title,
        "source": f"/viewer/slice/{pane.artefact}",
        "shape": list(shape),
        "unit": pane.unit,
        "window": [float(value) for value in pane.window],
        "spacing": [float(step) for step in spacing] if spacing is not None and usable else None,
        "kind": pane.kind,
        "note": NOTES[pane.kind],
        "place": volume_place(pane),
        "planes": [
            {
                "name": plane.name or AXES[plane.axis],
                "axis": plane.axis,
                "transpose": plane.transpose,
                "flipDown": plane.flip_down,
                "flipAcross": plane.flip_across,
                "letters": plane.letters,
            }
            for plane in volume_planes(pane.affine)
        ],
    }


def _plain(panes: Sequence[Pane], shapes: Sequence[tuple[int, ...]], slice_number: int | None) -> str:
    """Return pictures drawn by the server, and links to the slices around."""
    deepest = max(shape[0] for shape in shapes)
    number = deepest // 2 if slice_number is None else min(max(slice_number, 0), deepest - 1)
    figures = []
    for pane, shape in zip(panes, shapes, strict=True):
        here = min(number, shape[0] - 1)
        title = html.escape(pane.title)
        letters = volume_planes(pane.affine)[0].letters
        turned = f"patient's {letters['left']} on the left" if letters else "orientation unknown"
        window = f"{pane.window[0]:.4g} to {pane.window[1]:.4g} {html.escape(pane.unit)}"
        named = f"{title}, slice {here + 1} of {shape[0]}"
        figures.append(
            f'<figure><img loading="lazy" src="/viewer/still/{pane.artefact}/0/{here}.png" alt="{named}">'
            f"<figcaption>{named}, {turned}, window {window}</figcaption></figure>"
        )
    address = "/viewer?panes=" + ",".join(pane.artefact for pane in panes)
    links = [
        f'<a href="{html.escape(f"{address}&slice={to}")}">{name}</a>'
        for name, to in (("previous slice", number - 1), ("next slice", number + 1))
        if 0 <= to < deepest
    ]
    return "\n".join([*figures, f"<p>{' · '.join(links)}</p>", f"<p>{html.escape(NOTICE)}</p>"])
