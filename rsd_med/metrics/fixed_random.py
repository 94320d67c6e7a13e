"""Numbers that are random but fixed for ever: drawn from a SHAKE-256 stream, not from a library's generator.

The features of an extractor must mean the same next year: the generators of torch and numpy promise that only within
a release, a hash promises it by its standard.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def fixed_normal(name: str, *shape: int) -> NDArray[np.float64]:
    """Draw standard normal numbers that depend on ``name`` and ``shape`` only.

    Parameters
    ----------
    name
        What the numbers are for; another name gives independent numbers.
    shape
        The shape of the result.

    Returns
    -------
    numpy.ndarray
        Float64 of ``shape``: the Box-Muller transform of the SHAKE-256 stream of ``name``, equal on every platform up
        to the rounding of ``log`` and ``cos``.
    """
    count = int(np.prod(shape))
    stream = hashlib.shake_256(name.encode()).digest(16 * count)
    # The top 53 bits of each word; the half keeps the logarithm away from zero.
    uniform = ((np.frombuffer(stream, dtype="<u8") >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniform[:count]))
    return (radius * np.cos(2.0 * np.pi * uniform[count:])).reshape(shape)


def fixed_orthonormal(name: str, rows: int, columns: int) -> NDArray[np.float64]:
    """Draw a matrix with orthonormal rows (``rows <= columns``), uniform over the rotations, fixed by ``name``.

    Parameters
    ----------
    name
        What the matrix is for.
    rows, columns
        The shape of the result.

    Returns
    -------
    numpy.ndarray
        Float64 ``(rows, columns)`` with ``M @ M.T = I``.

    Raises
    ------
    ValueError
        If there are more rows than columns.
    """
    if rows > columns:
        raise ValueError(f"{rows} orthonormal rows do not fit into {columns} dimensions")
    q, r = np.linalg.qr(fixed_normal(name, columns, rows))
    # LAPACK may flip columns; a positive diagonal of R makes the factorisation unique.
    return (q * np.sign(np.diag(r))).T.copy()
