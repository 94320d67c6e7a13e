"""What is black and what is white in a volume, found in one pass over its slices."""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import AfterValidator

EXACT = 1 << 22
"""Voxels up to which percentiles are exact; of a larger volume every k-th is looked at."""


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] < value[1] <= 100:
        raise ValueError("must be two rising numbers between 0 and 100")
    return value


Percentiles = Annotated[tuple[float, float], AfterValidator(_rising)]
"""Which percentiles of a volume become black and white."""


class Intensities:
    """The intensities of a volume, seen slice by slice in bounded memory.

    Parameters
    ----------
    shape
        Of the volume, its slices last or first: it only matters for how voxels are skipped.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        total = math.prod(shape)
        self._every = max(1, -(-total // EXACT))
        # Coprime to the sides, so that the voxels looked at form no pattern of rows or columns.
        while self._every > 1 and any(math.gcd(self._every, side) > 1 for side in shape):
            self._every += 1
        self._sample = np.empty(-(-total // self._every), np.float32)
        self._seen = 0
        self._kept = 0
        self._lowest, self._highest = math.inf, -math.inf
        self.bad = 0
        """Voxels that are NaN or infinite."""

    def add(self, values: np.ndarray) -> None:
        """Look at some voxels; of complex ones at the magnitude. Those that are NaN or infinite are only counted."""
        flat = (np.abs(values) if values.dtype.kind == "c" else values).ravel()
        finite = np.isfinite(flat)
        if not finite.all():
            self.bad += int(np.count_nonzero(~finite))
            flat = np.where(finite, flat, 0)
        self._lowest, self._highest = min(self._lowest, float(flat.min())), max(self._highest, float(flat.max()))
        chosen = flat[-self._seen % self._every :: self._every]
        self._sample[self._kept : self._kept + len(chosen)] = chosen
        self._kept += len(chosen)
        self._seen += len(flat)

    def percentiles(self, low: float, high: float) -> tuple[float, float]:
        """Return two percentiles (0 to 100) of what was seen; 0 and 100 are always exact."""
        sample = self._sample[: self._kept]
        return (
            self._lowest if low == 0 else float(np.percentile(sample, low, overwrite_input=True)),
            self._highest if high == 100 else float(np.percentile(sample, high, overwrite_input=True)),
        )
