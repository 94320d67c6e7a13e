"""Pictures of samples, at one fixed window, from fixed latents."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rsd_med.data.windowing import grey_levels
from rsd_med.metrics.views import magnitude_view

GALLERY = 64
"""Images in a gallery."""

WHITE = 1.25
"""Magnitude that is shown white. The scale, 1, comes from an image of low resolution; fine bright tissue exceeds it."""


def to_grey_levels(images: Tensor) -> np.ndarray:
    """Map images in channels to 8-bit levels at the fixed window of their units.

    Parameters
    ----------
    images
        ``(n, 2, y, x)``: magnitude 0 is black, ``WHITE`` is white. ``(n, 1 or 3, y, x)``: -1 to 1.

    Returns
    -------
    numpy.ndarray
        uint8 ``(n, y, x)`` or ``(n, y, x, 3)``.
    """
    view = magnitude_view(images)
    white = WHITE if images.shape[1] == 2 else 1.0
    levels = grey_levels(view, (-1.0, 2 * white - 1))
    return levels[:, 0] if levels.shape[1] == 1 else np.moveaxis(levels, 1, -1)


def save_grid(images: Tensor, path: Path, columns: int = 8) -> None:
    """Write a PNG of images in channels, ``(n, channels, y, x)``, row by row without gaps.

    An incomplete last row is left out.
    """
    from PIL import Image

    columns = min(columns, len(images))
    rows = len(images) // columns
    levels = to_grey_levels(images[: rows * columns])
    height, width, *colours = levels.shape[1:]
    tiles = levels.reshape(rows, columns, height, width, *colours).swapaxes(1, 2)
    sheet = tiles.reshape(rows * height, columns * width, *colours)
    Image.fromarray(sheet).save(path)


def save_gallery(folder: Path, name: str, images: Tensor) -> None:
    """Write the first images of a model, or of the data, as ``<name>.npy``: float32 channels, scaled units."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.npy", images[:GALLERY].to(torch.float32).cpu().numpy())
