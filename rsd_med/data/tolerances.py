"""When numbers that files repeat are equal: headers are rounded, and computed anew for every slice.

Rounding to so many decimals is no equality: two numbers a millionth apart may lie on both sides of an edge. Here a
number belongs to a group if it is near the group's first.
"""

import numpy as np

ANGLE = 0.01
"""Radians between directions that are the same."""

LENGTH = 0.01
"""Relative difference between pixel sizes, or fields of view, that are the same."""

PLACE = 0.05
"""Share of a pixel between places that are the same."""

STEP = 0.02
"""Share of the distance between slices by which one may lie beside its place."""


def same_length(one: float, other: float) -> bool:
    """Whether two sizes are equal but for rounding."""
    return abs(one - other) <= LENGTH * max(abs(one), abs(other))


def group_numbers(values: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the groups of values that are equal within a tolerance.

    Parameters
    ----------
    values
        Finite numbers, (n,).
    tolerance
        How far a member may lie above the smallest of its group.

    Returns
    -------
    numpy.ndarray
        int64, (n,): the group of each, counted from the smallest.
    """
    order = np.argsort(values, kind="stable")
    groups = np.empty(len(values), np.int64)
    group, first = -1, -np.inf
    for place in order:
        if values[place] - first > tolerance:
            group, first = group + 1, values[place]
        groups[place] = group
    return groups


def group_vectors(values: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the groups of vectors that are equal within a tolerance.

    Parameters
    ----------
    values
        Finite numbers, (n, components).
    tolerance
        Of each component, from the first of a group to its other members.

    Returns
    -------
    numpy.ndarray
        int64, (n,): the group of each, in the order of their first members.
    """
    firsts = np.empty_like(values)
    groups = np.empty(len(values), np.int64)
    count = 0
    for place, value in enumerate(values):
        near = np.flatnonzero(np.abs(firsts[:count] - value).max(axis=1, initial=0.0) <= tolerance)
        if not len(near):
            firsts[count] = value
            near = np.array([count])
            count += 1
        groups[place] = near[0]
    return groups


def even_step(places: np.ndarray) -> np.ndarray | None:
    """Return the way from one place to the next; None where they do not lie at equal distances on a line.

    Parameters
    ----------
    places
        Millimetres, (n, 3), n at least 2, in their order.

    Returns
    -------
    numpy.ndarray or None
        float64, (3,).
    """
    step = (places[-1] - places[0]) / (len(places) - 1)
    expected = places[0] + np.arange(len(places))[:, None] * step
    length = float(np.linalg.norm(step))
    return step if length > 0 and np.abs(places - expected).max() <= STEP * length else None
