"""Values to grey levels under a display window: the one rule for pictures, exports and the app's viewer.

It needs numpy alone, so that a program that only shows pictures need not import torch.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def grey_levels(
    image: "Tensor | np.ndarray", window: tuple[float, float], bits: Literal[8, 16] = 8, *, invert: bool = False
) -> np.ndarray:
    """Map values to grey levels: floor(white (v - low) / (high - low) + 1/2) in double precision, cut to 0..white.

    Parameters
    ----------
    image
        Any shape; of complex numbers the magnitude is taken. NaN becomes level 0, inverted or not.
    window
        (low, high): values shown black and white, in the units of the image.
    bits
        8 or 16; white is the level 255 or 65,535.
    invert
        Whether black and white change places.

    Returns
    -------
    numpy.ndarray
        uint8 or uint16 of the same shape; level for level what the viewer's ``arithmetic.js`` draws.

    Raises
    ------
    ValueError
        If the window does not rise.
    """
    low, high = window
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"A display window must rise from black to white, not go from {low} to {high}.")
    values = np.asarray(image if isinstance(image, np.ndarray) else image.detach().cpu())
    values = (np.abs(values) if values.dtype.kind == "c" else values).astype(np.float64)
    white = 2**bits - 1
    levels = np.floor((values - low) * (white / (high - low)) + 0.5).clip(0, white)
    levels = white - levels if invert else levels
    return np.where(np.isnan(values), 0, levels).astype(np.uint8 if bits == 8 else np.uint16)
