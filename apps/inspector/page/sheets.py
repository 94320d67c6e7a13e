"""Many small images at once: one lossless picture for all of them, and a button for each."""

import html
from collections.abc import Sequence

import numpy as np

from rsd_med.data.windowing import grey_levels

from ..web.session import Session
from ..web.stored import add_picture

WHITE = 1.25
"""Magnitude shown white: the scale, 1, comes from an image of low resolution, and fine bright tissue exceeds it."""
MOST_PICTURES = 24
"""Pictures that a session keeps; older ones are forgotten."""


def magnitude(images: np.ndarray) -> np.ndarray:
    """Return what is seen of images in channels (n, c, y, x): float32 (n, y, x)."""
    if images.shape[1] == 2:
        return np.hypot(images[:, 0], images[:, 1])
    return images.mean(1)


def phase(images: np.ndarray) -> np.ndarray:
    """Return the phase of complex images in channels (n, 2, y, x): radians in (-π, π], float32 (n, y, x)."""
    return np.arctan2(images[:, 1], images[:, 0])


def window_of(images: np.ndarray, shown: str = "magnitude") -> tuple[float, float]:
    """Return the fixed window of images in channels."""
    if shown == "phase":
        return (-float(np.pi), float(np.pi))
    return (0.0, WHITE) if images.shape[1] == 2 else (-1.0, 1.0)


def grey(images: np.ndarray, shown: str = "magnitude") -> np.ndarray:
    """Return images in channels as 8-bit levels at the fixed window, (n, y, x)."""
    values = phase(images) if shown == "phase" else magnitude(images)
    return grey_levels(values, window_of(images, shown))


def sheet(
    session: Session,
    levels: np.ndarray,
    *,
    name: str,
    labels: Sequence[str],
    numbers: Sequence[int],
    captions: Sequence[str] | None = None,
    columns: int = 8,
    chosen: int | None = None,
) -> str:
    """Return the HTML of a grid whose pictures come in one file.

    Parameters
    ----------
    session
        The owner of the file.
    levels
        uint8 (n, y, x).
    name
        What the grid shows, for those who do not see it.
    labels, numbers
        Of each tile: what it is, and what a click on it reports.
    captions
        Text under each tile.
    columns
        Tiles in a row.
    chosen
        The number whose tile is marked.
    """
    count, height, width = levels.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    page = np.zeros((rows * height, columns * width), np.uint8)
    for position, tile in enumerate(levels):
        row, column = divmod(position, columns)
        page[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    picture = add_picture(session, page)
    _forget_old(session)
    tiles, stopped = [], max((place for place, number in enumerate(numbers) if number == chosen), default=0)
    for position in range(count):
        row, column = divmod(position, columns)
        x = 0 if columns == 1 else 100 * column / (columns - 1)
        y = 0 if rows == 1 else 100 * row / (rows - 1)
        style = (
            f"background-image:url(/artefact/{picture}/file);background-size:{100 * columns}% {100 * rows}%;"
            f"background-position:{x:.4f}% {y:.4f}%;aspect-ratio:{width}/{height}"
        )
        stop = 0 if position == stopped else -1
        mark = ' aria-pressed="true"' if numbers[position] == chosen else ' aria-pressed="false"'
        # One stop for the tab key in a grid; the arrow keys move it (app.js).
        below = "" if captions is None else f'<span class="caption">{html.escape(captions[position])}</span>'
        tiles.append(
            f'<div class="cell"><button type="button" class="tile" tabindex="{stop}" '
            f'data-number="{numbers[position]}"{mark} '
            f'aria-label="{html.escape(labels[position])}" style="{style}"></button>{below}</div>'
        )
    return (
        f'<div class="sheet" role="group" aria-label="{html.escape(name)}" style="--columns:{columns}">'
        + "".join(tiles)
        + "</div>"
    )


def _forget_old(session: Session) -> None:
    pictures = [artefact.id for artefact in list(session.artefacts.values()) if artefact.name == "picture.png"]
    for artefact in pictures[:-MOST_PICTURES]:
        session.forget(artefact)
