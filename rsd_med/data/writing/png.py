"""Slices to PNG: lossless grey levels at a given window, turned for the eye where the orientation is known."""

from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from rsd_med.base.files import written_aside
from rsd_med.data.orientation import displayed
from rsd_med.data.scan import UNKNOWN, Geometry
from rsd_med.data.windowing import grey_levels
from rsd_med.data.writing import NOTE


def write_png(
    path: Path,
    image: Tensor | np.ndarray,
    window: tuple[float, float],
    geometry: Geometry = UNKNOWN,
    bits: Literal[8, 16] = 8,
) -> None:
    """Write one slice as a picture.

    Parameters
    ----------
    path
        Where to; its folder exists.
    image
        ``(y, x)``, real or complex.
    window
        (black, white) in the units of the image.
    geometry
        Where the orientation is known the picture is turned to the radiological convention (:func:`displayed`);
        otherwise rows and columns are those of the array.
    bits
        Depth of a grey level.

    Raises
    ------
    ValueError
        If the array is no image, or the window does not rise.
    OSError
        If the disk is full or the folder cannot be written; nothing half-written stays.
    """
    from PIL import Image, PngImagePlugin

    levels = grey_levels(image, window, bits)
    if levels.ndim != 2:
        raise ValueError(f"An array of shape {levels.shape} is no picture.")
    turned = displayed(levels, geometry)
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", NOTE)
    note.add_text("Orientation", "unknown" if turned.letters is None else "radiological")
    with written_aside(path) as side:
        Image.fromarray(turned.image).save(side, "PNG", pnginfo=note)
