"""A volume that no flip or turn leaves the same."""

import numpy as np


def asymmetric(shape=(24, 40, 30)) -> np.ndarray:
    """Return a ramp of its own along each axis, and a block in one corner."""
    z, y, x = np.indices(shape, dtype=np.float32)
    volume = 0.2 + 0.01 * x + 0.004 * y + 0.002 * z
    volume[: shape[0] // 3, : shape[1] // 4, : shape[2] // 3] = 0.95
    return volume.astype(np.float32)
