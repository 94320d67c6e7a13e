"""The masks of fastMRI's evaluation, column by column, so that its published figures can be redone."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rsd_med.operators.masks import acs_slice


def fastmri_mask(pattern: str, width: int, acceleration: float, acs_lines: int, name: str) -> Tensor:
    """Draw the mask of a volume as fastMRI's ``MaskFunc`` does with a seed from the file's name.

    The generator is NumPy's old ``RandomState`` with the characters of the name as seed, and the first of its draws is
    the choice between one acceleration and none other (fastMRI 0.3.0, ``fastmri/data/subsample.py``).

    Parameters
    ----------
    pattern
        fastMRI's names: ``random`` (each column by chance, so that R is met on average), ``equispaced`` (every R-th),
        ``equispaced_fraction`` (as many columns as R asks for, evenly).
    width
        Columns of k-space, those at the edges that were never acquired too.
    acceleration
        R; whole for ``equispaced``.
    acs_lines
        Central columns: fastMRI's ``round(width * center_fraction)``.
    name
        The file's, with its ending.

    Returns
    -------
    Tensor
        bool, (width,).

    Raises
    ------
    ValueError
        If the pattern is none of fastMRI's, or the numbers cannot be met.
    """
    if pattern not in _COLUMNS:
        raise ValueError(f"fastMRI draws the patterns {', '.join(_COLUMNS)}, not {pattern}.")
    if acs_lines >= width / acceleration:
        raise ValueError(
            f"Acceleration {acceleration:g} leaves {width / acceleration:.3g} of {width} columns, no more than the "
            f"{acs_lines} central ones: lower the acceleration or the number of ACS lines."
        )
    generator = np.random.RandomState(tuple(map(ord, name)))
    generator.randint(1)
    mask = torch.from_numpy(_COLUMNS[pattern](generator, width, acceleration, acs_lines))
    mask[acs_slice(width, acs_lines)] = True
    return mask


def _random(generator: np.random.RandomState, width: int, acceleration: float, lines: int) -> np.ndarray:
    return generator.uniform(size=width) < (width / acceleration - lines) / (width - lines)


def _equispaced(generator: np.random.RandomState, width: int, acceleration: float, lines: int) -> np.ndarray:
    if acceleration != int(acceleration):
        raise ValueError(f"fastMRI's equispaced masks take every R-th column, R whole, not {acceleration:g}.")
    mask = np.zeros(width, bool)
    mask[generator.randint(0, high=int(acceleration)) :: int(acceleration)] = True
    return mask


def _equispaced_fraction(generator: np.random.RandomState, width: int, acceleration: float, lines: int) -> np.ndarray:
    spacing = acceleration * (lines - width) / (lines * acceleration - width)
    mask = np.zeros(width, bool)
    first = generator.randint(0, high=round(spacing))
    mask[np.around(np.arange(first, width - 1, spacing)).astype(int)] = True
    return mask


_COLUMNS: dict[str, Callable[[np.random.RandomState, int, float, int], np.ndarray]] = {
    "random": _random,
    "equispaced": _equispaced,
    "equispaced_fraction": _equispaced_fraction,
}
