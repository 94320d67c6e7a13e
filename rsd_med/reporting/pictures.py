"""Images as pictures in the page: one fixed window, one magnification, PNG inside the HTML."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rsd_med.runs.grids import WHITE, to_grey_levels

GAP_LEVEL = 38
"""Grey level between images: neither black nor part of any image."""

GRID_COLUMNS = 8
"""Images in a row of the grids that training writes."""

MAX_GRID_PIXELS = 64_000_000


@dataclass(frozen=True)
class Layout:
    """How many images a sheet shows, and how large.

    Attributes
    ----------
    columns, rows
        Images across and down.
    magnification
        CSS pixels for each pixel of the image; whole numbers unless an image is wider than its place.
    """

    columns: int
    rows: int
    magnification: float


def choose_layout(width: int, height: int, place: int, least: int = 80, most_columns: int = 4) -> Layout:
    """Fit a sheet of images into a place on the page.

    Parameters
    ----------
    width, height
        Of one image, in its own pixels.
    place
        CSS pixels available across.
    least
        CSS pixels across that an image needs to be seen, where there is a choice.
    most_columns
        Most images across.

    Returns
    -------
    Layout
        About square, of images of at least ``least``, filling the place well; one image has to fill it much better
        than several do, for several show how images differ.
    """
    options = []
    for columns in range(1, most_columns + 1):
        size = sheet_size(columns, width)
        magnification = place // size
        if magnification >= 1 and (width * magnification >= least or columns == 1):
            fill = size * magnification / place
            options.append((round(fill if columns > 1 else 0.8 * fill, 2), magnification, columns))
    if not options:
        return Layout(1, 1, place / width)
    _, magnification, columns = max(options)
    return Layout(columns, max(1, round(columns * width / height)), magnification)


def sheet_size(count: int, side: int, gap: int = 1) -> int:
    """Return the pixels that ``count`` images of ``side`` take, with the gaps between them."""
    return count * side + (count - 1) * gap


def sheet(levels: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Lay images side by side, row by row, with thin gaps.

    Parameters
    ----------
    levels
        uint8 ``(n, y, x)`` or ``(n, y, x, 3)``.
    columns
        Images across; the last row may be short.
    gap
        Pixels between images.

    Returns
    -------
    numpy.ndarray
        uint8 ``(rows, cols)`` or ``(rows, cols, 3)``.
    """
    count, height, width = levels.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    shape = (sheet_size(rows, height, gap), sheet_size(columns, width, gap), *levels.shape[3:])
    result = np.full(shape, GAP_LEVEL, dtype=np.uint8)
    for i, image in enumerate(levels):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        result[top : top + height, left : left + width] = image
    return result


def png_uri(levels: np.ndarray) -> str:
    """Write 8-bit levels, ``(y, x)`` or ``(y, x, 3)``, as a ``data:image/png`` address."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def ramp(natural: bool) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the grey scale of the fixed window, uint8 ``(1, 256)``, and the values at its ends.

    The ramp goes through the same mapping as the images: real ones where ``natural``, else magnitudes.
    """
    low, high = (-1.0, 1.0) if natural else (0.0, WHITE)
    values = torch.linspace(low, high, 256)
    if natural:
        channels = values.expand(1, 1, 1, 256)
    else:
        channels = torch.stack([values, torch.zeros_like(values)]).reshape(1, 2, 1, 256)
    return to_grey_levels(channels)[0], (low, high)


def clipped_share(images: Tensor) -> float:
    """Return the share of values beyond the window; ``images`` in channels, ``(n, channels, y, x)``."""
    if images.shape[1] == 2:
        return float((torch.linalg.vector_norm(images, dim=1) > WHITE).float().mean())
    return float((images.abs() > 1).float().mean())


def crop_grid(path: Path, tile: tuple[int, int], columns: int, rows: int) -> np.ndarray | None:
    """Read the first images of a grid that training wrote.

    Parameters
    ----------
    path
        A PNG of eight images across, without gaps.
    tile
        Size of one image, (y, x).
    columns, rows
        How many of them to keep at most, from the upper left.

    Returns
    -------
    numpy.ndarray | None
        uint8 levels with thin gaps, or None where the file is no such grid.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as picture:
            if picture.width * picture.height > MAX_GRID_PIXELS or picture.mode not in ("L", "RGB"):
                return None
            pixels = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    height, width = tile
    if pixels.shape[0] % height or pixels.shape[1] != GRID_COLUMNS * width:
        return None
    columns, rows = min(columns, GRID_COLUMNS), min(rows, pixels.shape[0] // height)
    lefts, tops = range(0, columns * width, width), range(0, rows * height, height)
    return sheet(np.stack([pixels[y : y + height, x : x + width] for y in tops for x in lefts]), columns)
