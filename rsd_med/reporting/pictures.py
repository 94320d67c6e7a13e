"""Images as pictures in the page: one fixed window, one size, PNG inside the HTML."""

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

GAP = 2
"""Pixels between images that are shown."""

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
        CSS pixels for each pixel of the image.
    """

    columns: int
    rows: int
    magnification: float


def choose_layout(width: int, height: int, place: int, least: int = 120, most_columns: int = 2) -> Layout:
    """Fit a sheet of images into a place on the page, which it fills from side to side.

    Parameters
    ----------
    width, height
        Of one image, in its own pixels.
    place
        CSS pixels available across.
    least
        CSS pixels across that an image needs to be seen.
    most_columns
        Most images across.

    Returns
    -------
    Layout
        About square. Several images where they need not shrink and are large enough, for several show how images
        differ; else a single one.
    """
    columns = next(
        count for count in range(most_columns, 0, -1) if count == 1 or place // count >= max(least, 0.95 * width)
    )
    rows = max(1, round(columns * width / height))
    return Layout(columns, rows, magnification(columns, width, place))


def magnification(columns: int, width: int, place: int) -> float:
    """Return how much images of a width are enlarged so that a row of them, with its gaps, fills a place."""
    return (place - (columns - 1) * GAP) / (columns * width)


def enlarge(levels: np.ndarray, magnification: float) -> np.ndarray:
    """Resample images to the size at which they are shown, one by one, by cubic interpolation.

    Enlarged pixels are smooth, as in a viewer for scans, and no sharper than they were: hard squares would hide grain,
    and a browser's own enlargement would blur it.

    Parameters
    ----------
    levels
        uint8 ``(n, y, x)`` or ``(n, y, x, 3)``.
    magnification
        Pixels for each pixel.

    Returns
    -------
    numpy.ndarray
        uint8 of the same number of images.
    """
    from PIL import Image

    height, width = (max(1, round(side * magnification)) for side in levels.shape[1:3])
    resized = [Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC) for image in levels]
    return np.stack([np.asarray(image) for image in resized])


def sheet_size(count: int, side: int, gap: int = GAP) -> int:
    """Return the pixels that ``count`` images of ``side`` take, with the gaps between them."""
    return count * side + (count - 1) * gap


def sheet(levels: np.ndarray, columns: int, gap: int = GAP) -> np.ndarray:
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
        uint8 levels, ``(n, y, x)`` or ``(n, y, x, 3)``, or None where the file is no such grid.
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
    return np.stack([pixels[y : y + height, x : x + width] for y in tops for x in lefts])
