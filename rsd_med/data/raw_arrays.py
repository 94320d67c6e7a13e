"""Raw k-space in plain arrays: with the positions of its samples (radial, spiral), or with a mask in y and x."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.data.hdf5 import MAX_READ_BYTES, MAX_SIDE, checked_dataset, opened, read
from rsd_med.data.paths import resolve_root
from rsd_med.data.recognition import files_of_kind
from rsd_med.data.scan import Scan
from rsd_med.data.source import Source, SourceSettings, runs_of
from rsd_med.data.trajectory import in_cycles

SUFFIXES = (".h5", ".hdf5", ".npz")
"""Endings of names that promise this kind of file."""
# Name: NumPy's kinds, and the dimensions of one slice.
_EXPECTED = {
    "kspace": "complex (coil, shot, sample), or with a slice axis before,",
    "trajectory": "real (shot, sample, 2), or with a slice axis before,",
    "mask": "a mask of 0 and 1, (y, x), or with a slice axis before,",
    "sensitivity_maps": "complex (coil, y, x), or with a slice axis before,",
    "matrix": "a list of two whole numbers (y, x)",
    "noise": "complex (coil, sample)",
}
_ARRAYS = {"kspace": ("c", 3), "trajectory": ("f", 3), "mask": ("biuf", 2), "sensitivity_maps": ("c", 3)}


class RawArraySettings(SourceSettings):
    """K-space in HDF5 or NumPy arrays, with a trajectory or with a mask in y and x."""

    kind: Literal["raw_arrays"] = "raw_arrays"
    root: str = Field(description="a folder of .h5 and .npz files, or one file")
    limit: int | None = Field(default=None, gt=0, description="use only the first so many slices; null: all")

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "RawArrays":
        """Index the files; nothing here is random.

        Raises
        ------
        DataError
            If there is no such file, or one is malformed.
        """
        return RawArrays(resolve_root(self.root, base_dir), self)


@dataclass(frozen=True)
class _Volume:
    path: Path
    slices: int
    shape: tuple[int, int, int]


class RawArrays(Source):
    """Slices of k-space from files of plain arrays, HDF5 or ``.npz``.

    ``kspace`` is complex, (coil, shot, sample) or (slice, coil, shot, sample). It comes with one of

    - ``trajectory``, real, (shot, sample, 2), or with a slice axis before: (k_y, k_x) in cycles per field of view, from
      -n/2 to n/2, or in cycles per pixel, from -1/2 to 1/2; and ``matrix``, the (y, x) of the image;
    - ``mask``, boolean, (y, x), or with a slice axis before; shots are rows y then, and samples columns x.

    ``sensitivity_maps``, complex, (coil, y, x), and ``noise``, complex, (coil, n), may be there; each may have a slice
    axis before, and without one serves all slices.

    Raises
    ------
    DataError
        If there is nothing to read, or a file is damaged or malformed.
    """

    def __init__(self, root: Path, settings: RawArraySettings) -> None:
        self._volumes = [_volume(path) for path in _files(root)]
        items = [(volume, number) for volume in self._volumes for number in range(volume.slices)]
        self._items = items[: settings.limit]

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self._items)

    def id(self, index: int) -> str:
        """Return the file's stem and the slice: ``scan_004``."""
        volume, number = self._items[index]
        return f"{volume.path.stem}_{number:03d}"

    def shape(self, index: int) -> tuple[int, int, int]:
        """Return (coil, y, x) of the image without reading the slice."""
        return self._items[index][0].shape

    def stacks(self) -> tuple[range, ...]:
        """Return the slices of each file."""
        return runs_of(volume for volume, _ in self._items)

    def __getitem__(self, index: int) -> Scan:
        """Read one slice.

        Raises
        ------
        IndexError
            Past the end.
        DataError
            If the slice is damaged, or holds NaN, infinities or nothing at all.
        """
        volume, number = self._items[index]
        with _contents(volume.path) as contents:
            arrays = {name: contents.slice(name, number) for name in (*_ARRAYS, "noise")}
        tensors = {name: None if array is None else _tensor(array, name) for name, array in arrays.items()}
        kspace, trajectory, mask = tensors["kspace"], tensors["trajectory"], tensors["mask"]
        assert kspace is not None
        if not bool(torch.isfinite(torch.view_as_real(kspace)).all()):
            raise DataError(f"{self.id(index)}: k-space holds NaN or infinite values; repair or remove the file.")
        if not bool(kspace.any()):
            raise DataError(f"{self.id(index)}: k-space is zero everywhere; remove the slice or write it again.")
        size = volume.shape[1:]
        if trajectory is not None:
            return Scan(
                id=self.id(index),
                kspace=kspace.flatten(1)[:, None],
                acquired=torch.ones(kspace[0].numel(), dtype=torch.bool),
                maps=tensors["sensitivity_maps"],
                noise=tensors["noise"],
                trajectory=in_cycles(trajectory.flatten(0, 1), size, self.id(index)),
                image_size=size,
            )
        assert mask is not None
        return Scan(
            id=self.id(index),
            kspace=torch.where(mask, kspace, 0),
            acquired=mask.any(0),
            maps=tensors["sensitivity_maps"],
            noise=tensors["noise"],
            sampled=None if bool(mask.all()) else mask,
        )


class _Contents:
    """The arrays of one open file, by name."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self.file = file

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return an array's shape; None if there is none of this name."""
        array = self._array(name)
        return None if array is None else tuple(array.shape)

    def slice(self, name: str, number: int) -> np.ndarray | None:
        """Return a slice of an array, or all of one that serves every slice."""
        array = self._array(name)
        if array is None:
            return None
        own = array.ndim == (2 if name == "noise" else _ARRAYS[name][1])
        if isinstance(array, np.ndarray):
            return array if own else array[number]
        return read(array, None if own else number)

    def matrix(self) -> tuple[int, int]:
        """Return the (y, x) of the image."""
        values = self._array("matrix")
        flat = [] if values is None else np.asarray(values[()]).ravel().tolist()
        if len(flat) != 2 or not all(8 <= side <= MAX_SIDE and side == int(side) for side in flat):
            raise DataError(
                f"{self.path.name}: a trajectory needs 'matrix', the sides (y, x) of the image, whole numbers from 8 "
                f"to {MAX_SIDE}."
            )
        return int(flat[0]), int(flat[1])

    def _array(self, name: str) -> Any:
        kinds, rank = _ARRAYS.get(name, ("iuf", 1) if name == "matrix" else ("c", 2))
        ranks = (1,) if name == "matrix" else (rank, rank + 1)
        if not isinstance(self.file, np.lib.npyio.NpzFile):
            return checked_dataset(self.file, name, kinds, ranks)
        if name not in self.file.files:
            return None
        array = self.file[name]
        if array.dtype.kind not in kinds or array.ndim not in ranks or 0 in array.shape:
            raise DataError(
                f"{self.path.name}: '{name}' has shape {array.shape} of {array.dtype}, and {_EXPECTED[name]} is read "
                "(docs/data.md)."
            )
        return array


@contextmanager
def _contents(path: Path) -> Iterator[_Contents]:
    if path.suffix.lower() != ".npz":
        with opened(path) as file:
            yield _Contents(path, file)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.file_size > MAX_READ_BYTES for member in archive.infolist()):
                raise DataError(f"{path.name}: an array is too large to be read at once; store it as HDF5.")
        with np.load(path, allow_pickle=False) as file:
            yield _Contents(path, file)
    except PermissionError as error:
        raise DataError(f"{path.name}: the file may not be read; give yourself read permission.") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path.name}: not a readable .npz file; copy it again or remove it.") from error


def _files(root: Path) -> list[Path]:
    if not root.exists():
        raise DataError(f"There is no file or folder '{root.name}': check data.root.")
    paths = files_of_kind(root, "raw_arrays", SUFFIXES) if root.is_dir() else [root]
    if not paths:
        raise DataError(f"'{root.name}' holds no .h5 or .npz file; point 'root' to what does.")
    return paths


def _volume(path: Path) -> _Volume:
    """Look at the shapes of a file, and refuse those that contradict each other."""
    with _contents(path) as contents:
        shapes = {name: contents.shape(name) for name in (*_ARRAYS, "noise")}
        kspace, trajectory, mask = shapes["kspace"], shapes["trajectory"], shapes["mask"]
        if kspace is None or (trajectory is None) == (mask is None):
            raise DataError(f"{path.name}: 'kspace' needs 'trajectory' and 'matrix', or 'mask'; see docs/data.md.")
        coils, shots, samples = kspace[-3:]
        size = contents.matrix() if trajectory is not None else (shots, samples)
    slices = kspace[0] if len(kspace) == 4 else 1
    wanted = {
        "trajectory": (shots, samples, 2),
        "mask": (shots, samples),
        "sensitivity_maps": (coils, *size),
        "noise": (coils, -1),
    }
    for name, item in wanted.items():
        shape = shapes[name]
        if shape is None:
            continue
        own = shape[len(shape) - len(item) :]
        fits = all(n == m or m == -1 for n, m in zip(own, item, strict=True)) and shape[: -len(item)] in ((), (slices,))
        if not fits:
            raise DataError(f"{path.name}: '{name}' of shape {shape} does not fit 'kspace' of shape {kspace}.")
    if math.prod(kspace[-3:]) * 8 > MAX_READ_BYTES:
        raise DataError(f"{path.name}: a slice of shape {kspace[-3:]} is too large to be read at once.")
    return _Volume(path, slices, (coils, *size))


def _tensor(array: np.ndarray, name: str) -> Tensor:
    if array.dtype.kind == "c":
        return torch.from_numpy(np.ascontiguousarray(array, np.complex64))
    return torch.from_numpy(np.ascontiguousarray(array, bool if name == "mask" else np.float64))
