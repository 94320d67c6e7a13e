"""Coil maps from a file of the user's, in place of those that a scan brings along or that are estimated of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.data.cfl import cfl_of, read_cfl_maps
from rsd_med.data.hdf5 import checked_dataset, opened
from rsd_med.data.hdf5 import read as read_dataset
from rsd_med.data.paths import file_identity
from rsd_med.data.scan import Picture, Scan
from rsd_med.data.source import Source, Target

DATASETS = ("maps", "sensitivity_maps")
"""Of an HDF5 file, the first of these that is there."""


def read_maps(path: Path) -> Tensor:
    """Read coil maps.

    Parameters
    ----------
    path
        BART's ``.cfl``, ``.hdr`` or name of both; ``.npy``; or HDF5 with a data set ``maps`` or ``sensitivity_maps``.
        Arrays are complex, (coil, y, x), (slice, coil, y, x) or (slice, set, coil, y, x).

    Returns
    -------
    Tensor
        complex64, (slice, set, coil, y, x).

    Raises
    ------
    DataError
        If there is no such file, it is damaged, or its array is no coil maps.
    """
    if cfl_of(path) is not None:
        return torch.from_numpy(read_cfl_maps(path))
    if not path.is_file():
        raise DataError(f"{path.name}: there is no such file of coil maps; check calibration.maps.file.")
    array = _read_npy(path) if path.suffix.lower() == ".npy" else _read_hdf5(path)
    if array.ndim not in (3, 4, 5) or array.dtype.kind != "c" or array.size == 0:
        raise DataError(
            f"{path.name}: coil maps are complex, of shape (coil, y, x), (slice, coil, y, x) or (slice, set, coil, y, "
            f"x); this array is {array.dtype} of shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise DataError(f"{path.name}: the maps hold NaN or infinite values; write them again.")
    maps = torch.from_numpy(np.ascontiguousarray(array, dtype=np.complex64))
    if maps.ndim == 3:
        return maps[None, None]
    return maps[:, None] if maps.ndim == 4 else maps


def _read_npy(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path.name}: the file is no array of NumPy's, or is damaged; write it again.") from error
    return array


def _read_hdf5(path: Path) -> np.ndarray:
    with opened(path) as file:
        for name in DATASETS:
            dataset = checked_dataset(file, name, "c", (3, 4, 5))
            if dataset is not None:
                return read_dataset(dataset)
    names = " or ".join(map(repr, DATASETS))
    raise DataError(f"{path.name}: the file holds no data set {names}, which coil maps are read from.")


class WithMaps(Source):
    """The scans of a source with the coil maps of a file.

    Parameters
    ----------
    source
        Of scans.
    path
        As for :func:`read_maps`. Maps of one slice serve every scan; of several, each serves its slice of a volume.

    Raises
    ------
    DataError
        As :func:`read_maps`.
    """

    def __init__(self, source: Source, path: Path) -> None:
        self.source = source
        self.path = path
        self.maps = read_maps(path)

    def __len__(self) -> int:
        """Return the number of scans."""
        return len(self.source)

    def shape(self, index: int) -> tuple[int, ...]:
        """Return (coil, y, x)."""
        return self.source.shape(index)

    def id(self, index: int) -> str:
        """Return the scan's id."""
        return self.source.id(index)

    def stacks(self) -> tuple[range, ...]:
        """Return the volumes of the source."""
        return self.source.stacks()

    def origin(self, index: int) -> tuple[object, ...] | None:
        """Return what the scan is read from, and the file of the maps as it is now."""
        origin = self.source.origin(index)
        return None if origin is None else (*origin, file_identity(self.path))

    def target(self, index: int) -> Target | None:
        """Return the target of the scan's file."""
        return self.source.target(index)

    def file_name(self, index: int) -> str:
        """Return the name of the scan's file."""
        return self.source.file_name(index)

    def expect(self, indices: Sequence[int]) -> None:
        """Tell the source."""
        self.source.expect(indices)

    def __getitem__(self, index: int) -> Scan | Picture:
        """Read one scan, and put the maps of its slice in it.

        Raises
        ------
        IndexError
            Past the end.
        DataError
            If the scan cannot be read, or the maps are of other coils, another matrix or fewer slices.
        """
        scan = self.source[index]
        if not isinstance(scan, Scan):
            return scan
        number = 0
        if len(self.maps) > 1:
            stack = next(stack for stack in self.source.stacks() if index in stack)
            number = index - stack.start
            if number >= len(self.maps):
                raise DataError(
                    f"{self.path.name}: the file has maps of {len(self.maps)} slices, and the volume more; give maps "
                    "of every slice, or of one that serves all.",
                    item=scan.id,
                )
        maps, wanted = self.maps[number], (scan.kspace.shape[0], *scan.matrix)
        if maps.shape[1:] != wanted:
            raise DataError(
                f"{self.path.name}: the maps are of {_sizes(maps.shape[1:])} and the scan is of {_sizes(wanted)}; give "
                "maps of this scan.",
                item=scan.id,
            )
        return replace(scan, maps=maps)


def _sizes(shape: Sequence[int]) -> str:
    return f"{shape[0]} coils and {shape[1]} x {shape[2]} pixels"
