"""Images, coil maps and k-space to BART's files, slice by slice."""

from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from torch import Tensor

from rsd_med.base.files import written_aside
from rsd_med.data.cfl import COIL, SETS, SLICE, TRAILING
from rsd_med.data.writing import NOTE


class CflWriter:
    """A pair ``NAME.cfl``, ``NAME.hdr`` that grows by slices and appears when the block ends well.

    A slice has BART's axes x, y, z, coil, set; y here is BART's dimension 0 and x its dimension 1, as they are read in
    ``rsd_med.data.bart``. Slices are dimension 13. The numbers are those that were given, complex64.

    Parameters
    ----------
    path
        ``NAME.cfl``; its folder exists.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written; nothing half-written stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shape: tuple[int, ...] | None = None
        self._slices = 0

    def __enter__(self) -> "CflWriter":
        """Start the file."""
        self._aside = written_aside(self.path)
        self._body: IO[bytes] = self._aside.__enter__().open("wb")
        return self

    def add(self, values: Tensor) -> None:
        """Append a slice.

        Parameters
        ----------
        values
            Complex, (y, x), (coil, y, x) or (set, coil, y, x); all slices alike.

        Raises
        ------
        ValueError
            If the slice does not go with those before.
        """
        array = np.asarray(values.detach().cpu(), dtype="<c8")
        array = array.reshape((1,) * (4 - array.ndim) + array.shape)
        if self._shape is not None and array.shape != self._shape:
            raise ValueError(f"A slice has the shape {array.shape}, and those before have {self._shape}.")
        self._shape = array.shape
        self._slices += 1
        # y varies fastest, then x, coil and set.
        self._body.write(np.ascontiguousarray(array.swapaxes(-1, -2)).tobytes())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the header and give the pair its name, if nothing went wrong; with no slice there is none."""
        self._body.close()
        if kind is None and self._shape is not None:
            with written_aside(self.path.with_suffix(".hdr")) as side:
                side.write_text(self._header(self._shape), encoding="ascii")
        empty = kind is None and self._shape is None
        self._aside.__exit__(kind, error, trace)
        if empty:
            self.path.unlink()

    def _header(self, shape: tuple[int, ...]) -> str:
        sets, coils, y, x = shape
        sizes = [1] * TRAILING
        sizes[0], sizes[1], sizes[COIL], sizes[SETS], sizes[SLICE] = y, x, coils, sets, self._slices
        return f"# Dimensions\n{' '.join(map(str, sizes))}\n# Creator\nrsd_med: {NOTE}\n"
