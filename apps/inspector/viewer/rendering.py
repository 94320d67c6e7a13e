"""Slices as 8-bit pictures, drawn here for browsers without scripts: the arithmetic of the viewer, in numpy."""

import io

import numpy as np

from apps.inspector.viewer.orientation import Plane


def levels(values: np.ndarray, low: float, high: float, *, invert: bool = False) -> np.ndarray:
    """Map values to grey levels: floor(255 (v - low) / (high - low) + 1/2) in double precision, cut to 0..255.

    Parameters
    ----------
    values
        Real numbers of any shape; what is no number becomes 0, inverted or not.
    low, high
        Values shown black and white.
    invert
        Whether black and white change places.

    Returns
    -------
    numpy.ndarray
        uint8, the same shape; level for level what ``paint`` in ``static/arithmetic.js`` draws.
    """
    wide = np.asarray(values, dtype=np.float64)
    scaled = np.clip(np.floor((wide - low) * (255 / (high - low)) + 0.5), 0, 255)
    scaled = 255 - scaled if invert else scaled
    return np.where(np.isnan(wide), 0, scaled).astype(np.uint8)


def turn(picture: np.ndarray, plane: Plane) -> np.ndarray:
    """Turn a slice (rows, columns) as its plane is shown on the screen."""
    turned = picture.T if plane.transpose else picture
    turned = turned[::-1] if plane.flip_down else turned
    return turned[:, ::-1] if plane.flip_across else turned


def encode_png(picture: np.ndarray, notice: str) -> bytes:
    """Encode grey levels (y, x) as PNG, with the notice burnt in below."""
    from apps.inspector.notice import burn_in

    buffer = io.BytesIO()
    burn_in(np.ascontiguousarray(picture), notice).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
