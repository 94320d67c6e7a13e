"""K-space in BART's files."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from rsd_med.base.errors import DataError
from rsd_med.base.notices import say_once
from rsd_med.data.cfl import COIL, SETS, SLICE, TRAILING, cfl_of, open_cfl, plane
from rsd_med.data.hdf5 import MAX_READ_BYTES
from rsd_med.data.paths import file_identity, resolve_root
from rsd_med.data.recognition import files_of_kind
from rsd_med.data.scan import Scan
from rsd_med.data.source import Source, SourceSettings, runs_of
from rsd_med.data.unmarked import unmarked_scan


class BartSettings(SourceSettings):
    """K-space in BART's ``.cfl`` files."""

    kind: Literal["bart"] = "bart"
    root: str = Field(description="a folder of `.cfl` files with their `.hdr`, or one of them")
    limit: int | None = Field(default=None, gt=0, description="use only the first so many slices; null: all")

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "Bart":
        """Index the files; nothing here is random.

        Raises
        ------
        DataError
            If there is no such file, or one is malformed.
        """
        return Bart(resolve_root(self.root, base_dir), self)


@dataclass(frozen=True)
class _Volume:
    """Slices that lie on one another: one place in all dimensions behind the coils but that of the slices."""

    path: Path
    sizes: tuple[int, ...]
    y: int
    x: int
    place: tuple[int, ...]
    name: str

    @property
    def slices(self) -> int:
        return self.sizes[SLICE]


class Bart(Source):
    """Slices of Cartesian k-space from BART's files: centred, with the axes x, y, z, coil, …, slice, ….

    Of the first three dimensions one is 1; of the other two the first is y here, the readout where BART's dimension 0
    is one, and the second is x. Each place in the dimensions behind the coils is a volume, and dimension 13 its slices.
    Entries that are zero in all coils were not sampled, as for BART.

    Raises
    ------
    DataError
        If there is nothing to read, or a file is damaged or malformed.
    """

    def __init__(self, root: Path, settings: BartSettings) -> None:
        self._volumes = [volume for path in _files(root) for volume in _volumes(path)]
        items = [(volume, number) for volume in self._volumes for number in range(volume.slices)]
        self._items = items[: settings.limit]

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self._items)

    def id(self, index: int) -> str:
        """Return the file's stem, the volume where there are several, and the slice: ``scan_t2_004``."""
        volume, number = self._items[index]
        return f"{volume.name}_{number:03d}"

    def shape(self, index: int) -> tuple[int, int, int]:
        """Return (coil, y, x) without reading the slice."""
        volume, _ = self._items[index]
        return volume.sizes[COIL], volume.sizes[volume.y], volume.sizes[volume.x]

    def stacks(self) -> tuple[range, ...]:
        """Return the slices of each volume."""
        return runs_of(volume for volume, _ in self._items)

    def origin(self, index: int) -> tuple[object, ...] | None:
        """Return the file, as it is now, and the place of the slice in it."""
        volume, number = self._items[index]
        file = file_identity(volume.path)
        return None if file is None else (*file, volume.place, number)

    def __getitem__(self, index: int) -> Scan:
        """Read one slice.

        Raises
        ------
        IndexError
            Past the end.
        DataError
            If the file has changed, or the slice holds NaN, infinities or nothing at all.
        """
        volume, number = self._items[index]
        array = open_cfl(volume.path)
        if array.shape != volume.sizes:
            raise DataError(f"{volume.path.name}: the file has changed since it was indexed; start again.")
        place = (*volume.place[: SLICE - COIL - 1], number, *volume.place[SLICE - COIL :])
        values = array[(slice(None),) * (COIL + 1) + place]
        values = np.moveaxis(values, (COIL, volume.y, volume.x), (0, 1, 2)).reshape(self.shape(index))
        kspace = torch.from_numpy(np.array(values, dtype=np.complex64, order="C"))
        return unmarked_scan(self.id(index), kspace)


def _files(root: Path) -> list[Path]:
    file = cfl_of(root)
    if file is not None:
        return [file]
    if not root.is_dir():
        raise DataError(f"{root.name}: no file of BART's; give NAME.cfl with NAME.hdr beside it, or a folder of them.")
    # Both files of a pair are of the kind; each pair is one.
    paths = list(dict.fromkeys(cfl_of(path) or path for path in files_of_kind(root, "bart", (".cfl",))))
    if not paths:
        raise DataError(f"'{root.name}' holds no .cfl file; point 'root' to what does.")
    return paths


def _volumes(path: Path) -> list[_Volume]:
    sizes = open_cfl(path).shape
    y, x = plane(sizes, path.name)
    if sizes[SETS] != 1:
        raise DataError(
            f"{path.name}: dimension 4 has size {sizes[SETS]}: these are coil maps or an image of several sets, and "
            "k-space is read here."
        )
    if sizes[COIL] * sizes[y] * sizes[x] * 8 > MAX_READ_BYTES:
        raise DataError(f"{path.name}: a slice of sizes {sizes[: COIL + 1]} is too large to be read at once.")
    if y > 0:
        say_once(
            f"{path.name}: BART's dimensions {sizes[: COIL + 1]} are taken for a plane of two phase encodings, "
            f"{sizes[y]} × {sizes[x]}. Samples along a trajectory go into raw arrays (docs/data.md)."
        )
    ranges = [range(1 if axis == SLICE else sizes[axis]) for axis in range(COIL + 1, TRAILING)]
    places = list(product(*ranges))
    return [
        _Volume(path, sizes, y, x, place, path.stem if len(places) == 1 else f"{path.stem}_v{number:03d}")
        for number, place in enumerate(places)
    ]
