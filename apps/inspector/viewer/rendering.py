"""Slices as pictures for browsers without scripts: turned as the viewer turns them, with the notice below."""

import io

import numpy as np

from .orientation import Plane


def turn(picture: np.ndarray, plane: Plane) -> np.ndarray:
    """Turn a slice (rows, columns) as its plane is shown on the screen."""
    turned = picture.T if plane.transpose else picture
    turned = turned[::-1] if plane.flip_down else turned
    return turned[:, ::-1] if plane.flip_across else turned


def encode_png(picture: np.ndarray, notice: str) -> bytes:
    """Encode grey levels (y, x) as PNG, with the notice burnt in below."""
    from ..notice import burn_in

    buffer = io.BytesIO()
    burn_in(np.ascontiguousarray(picture), notice).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
