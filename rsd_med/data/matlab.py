"""K-space in MATLAB's files, as the CMRxRecon challenges store it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.limits import MAX_COILS
from rsd_med.base.notices import FirstOf, say_once
from rsd_med.data.hdf5 import MAX_READ_BYTES, opened, read
from rsd_med.data.matlab_file import PARTS, checked_kspace, is_old, kspace_names, variables
from rsd_med.data.open_files import OpenFiles
from rsd_med.data.paths import file_identity, resolve_root
from rsd_med.data.recognition import files_of_kind
from rsd_med.data.scan import Scan
from rsd_med.data.source import Source, SourceSettings, runs_of
from rsd_med.data.unmarked import unmarked_scan

if TYPE_CHECKING:
    import h5py

MOST_SLICES = 1 << 16
"""Slices of all times together that a file is believed to hold; a short film of a heart has hundreds."""

_AXES = ("kx", "ky", "coil", "slice", "time")
_MOST_NAMES = 5
_axes_of = FirstOf()


class MatlabSettings(SourceSettings):
    """K-space in MATLAB's ``.mat`` files of version 7.3."""

    kind: Literal["matlab"] = "matlab"
    root: str = Field(description="a folder (with the folders below it) of `.mat` files, or one of them")
    include: str = Field(
        "*", description="which files of a folder to take, as a pattern of their names, for example `cine_sax*.mat`"
    )
    variable: str | None = Field(
        None,
        description="the variable that holds k-space; null: the one named as in CMRxRecon (`kspace_full`, `kspace`, "
        "`kspace_sub04`, `kspace_single_full`, `kus`, …). One with `single` in its name has no coil axis",
    )
    limit: int | None = Field(default=None, gt=0, description="use only the first so many slices; null: all")

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "Matlab":
        """Index the files; nothing here is random.

        Raises
        ------
        DataError
            If there is no such file, or one is malformed.
        """
        return Matlab(resolve_root(self.root, base_dir), self)


@dataclass(frozen=True)
class _Volume:
    """A variable of k-space: its shape in the file, which is MATLAB's in reverse, and what its axes are."""

    path: Path
    stem: str
    variable: str
    stored: tuple[int, ...]
    coils: int
    slices: int
    times: int
    before: int  # axes of the file before those of a slice: none, (slice,) or (time, slice)

    def place(self, time: int, number: int) -> tuple[int, ...]:
        """Return where a slice lies in the file's first axes."""
        return (time, number)[2 - self.before :]


class Matlab(Source):
    """Slices of Cartesian k-space from MATLAB's files: centred, with MATLAB's axes kx, ky, coil, slice, time.

    kx, the readout, is y here, and ky is x. A variable with ``single`` in its name has no coil axis; times may be the
    weightings of a map. Entries that are zero in all coils were not sampled. All slices of one time are a stack.

    Raises
    ------
    DataError
        If there is nothing to read, or a file is damaged or malformed.
    """

    def __init__(self, root: Path, settings: MatlabSettings) -> None:
        self._open: OpenFiles[h5py.Dataset | None] = OpenFiles(partial(_kspace, variable=settings.variable))
        self._root = root
        volumes = self._volumes(settings)
        self._items = [
            (volume, time, number)
            for volume in volumes
            for time in range(volume.times)
            for number in range(volume.slices)
        ][: settings.limit]

    def __len__(self) -> int:
        """Return the number of slices of all times."""
        return len(self._items)

    def id(self, index: int) -> str:
        """Return the file's path below the root, the time where there are several, and the slice: ``P1_t002_004``."""
        volume, time, number = self._items[index]
        return f"{volume.stem}_t{time:03d}_{number:03d}" if volume.times > 1 else f"{volume.stem}_{number:03d}"

    def shape(self, index: int) -> tuple[int, int, int]:
        """Return (coil, y, x) without reading the slice."""
        volume, *_ = self._items[index]
        return volume.coils, volume.stored[-1], volume.stored[-2]

    def stacks(self) -> tuple[range, ...]:
        """Return the slices of each time of each file."""
        return runs_of((volume.path, time) for volume, time, _ in self._items)

    def origin(self, index: int) -> tuple[object, ...] | None:
        """Return the file, as it is now, the variable, and the place of the slice in it."""
        volume, time, number = self._items[index]
        file = file_identity(volume.path)
        return None if file is None else (*file, volume.variable, time, number)

    def __getitem__(self, index: int) -> Scan:
        """Read one slice of one time.

        Raises
        ------
        IndexError
            Past the end.
        DataError
            If the file has changed or is damaged, or the slice holds NaN, infinities or nothing at all.
        """
        volume, time, number = self._items[index]
        with self._reading(volume.path) as dataset:
            if dataset is None or dataset.shape != volume.stored:
                raise DataError(f"{volume.path.name}: the file has changed since it was indexed; start again.")
            values = read(dataset, volume.place(time, number))
        # A single coil has no axis, or one that MATLAB dropped.
        kspace = _complex64(values).reshape(volume.coils, *volume.stored[-2:])
        kspace = kspace.swapaxes(-1, -2).contiguous()
        return unmarked_scan(self.id(index), kspace)

    @contextmanager
    def _reading(self, path: Path, new: bool = False) -> "Iterator[h5py.Dataset | None]":
        """Open a file's variable; patients' files have the same names, so what is wrong is said with the folder."""
        try:
            if new and is_old(path):
                raise DataError(
                    f"{path.name}: a file of MATLAB's before version 7.3, which is not read; load it in MATLAB and "
                    "save it with the option -v7.3."
                )
            with self._open.reading(path) as dataset:
                yield dataset
        except DataError as error:
            if path.parent in (self._root, self._root.parent):
                raise
            raise DataError(f"{path.parent.relative_to(self._root).as_posix()}/{error}") from error

    def _volumes(self, settings: MatlabSettings) -> list[_Volume]:
        root = self._root
        if root.is_file():
            volume = self._volume(root, root.stem)
            if volume is None:
                raise _without_kspace(root, settings.variable)
            return [volume]
        if not root.is_dir():
            raise DataError(f"There is no file or folder '{root.name}': check data.root.")
        volumes: dict[str, _Volume] = {}
        without: list[str] = []
        for path in files_of_kind(root, "matlab", (".mat",), settings.include, deep=True):
            stem = "_".join(path.relative_to(root).with_suffix("").parts)
            # Masks lie beside the scans, and may be of any version: the zeros of k-space say the same.
            volume = None if "mask" in path.name.lower() else self._volume(path, stem)
            if volume is None:
                without.append(path.name)
            elif stem in volumes:
                raise DataError(f"Two files would be called '{stem}': rename one, names are ids.")
            else:
                volumes[stem] = volume
        if not volumes:
            raise DataError(
                f"'{root.name}' holds no .mat file of k-space whose name matches '{settings.include}': check "
                "data.root, data.include and data.variable."
            )
        if without:
            say_once(
                f"{root.name}: {len(without)} of its .mat files are masks or hold no variable of k-space, such as "
                f"{without[0]}; they are left out."
            )
        return list(volumes.values())

    def _volume(self, path: Path, stem: str) -> _Volume | None:
        with self._reading(path, new=True) as dataset:
            return None if dataset is None else _volume(path, stem, dataset)


def _kspace(file: "h5py.File", variable: str | None) -> "h5py.Dataset | None":
    """Return the variable of a file that is read; None where there is none of that name."""
    where = Path(file.filename).name
    names = kspace_names(file) if variable is None else [name for name in variables(file) if name == variable]
    if len(names) > 1:
        say_once(
            f"{where}: several variables are named like k-space ({', '.join(names)}); {names[0]} is read, and "
            "data.variable names another."
        )
    return checked_kspace(file, names[0]) if names else None


def _without_kspace(path: Path, variable: str | None) -> DataError:
    with opened(path) as file:
        names = variables(file)
    there = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "") or "none"
    wanted = "named as in CMRxRecon (kspace_full, kspace_sub04, kus, …)" if variable is None else f"named '{variable}'"
    return DataError(f"{path.name}: no variable is {wanted}; those there: {there}. Name yours in data.variable.")


def _volume(path: Path, stem: str, dataset: "h5py.Dataset") -> _Volume:
    name = str(dataset.name).lstrip("/")
    where = f"{path.name}: '{name}'"
    single = "single" in name.lower()
    axes = tuple(axis for axis in _AXES if not (single and axis == "coil"))
    shape = dataset.shape[::-1]  # MATLAB's own order
    if not 2 <= len(shape) <= len(axes):
        raise DataError(
            f"{where} has {len(shape)} axes; {', '.join(axes)} are read, in MATLAB's order, so cut or reshape it."
        )
    # MATLAB drops axes at the end that have size 1.
    sizes = dict.fromkeys(_AXES, 1) | dict(zip(axes, shape, strict=False))
    if min(shape[:2]) < 2 or sizes["coil"] > MAX_COILS:
        raise DataError(
            f"{where} has the shape {shape} in MATLAB, which is no k-space of {', '.join(axes)}; permute it."
        )
    if sizes["slice"] * sizes["time"] > MOST_SLICES:
        raise DataError(f"{where} of shape {shape} in MATLAB holds more slices than {MOST_SLICES}; cut it.")
    if math.prod(shape[: axes.index("slice")]) * dataset.dtype.itemsize > MAX_READ_BYTES:
        raise DataError(f"{where} of shape {shape} in MATLAB has slices too large to be read at once.")
    if len(shape) < len(axes):
        taken = ", ".join(axes[: len(shape)])
        _axes_of.say(taken, f"{where} of shape {shape} in MATLAB is taken for {taken}")
    before = max(0, len(shape) - axes.index("slice"))
    return _Volume(path, stem, name, dataset.shape, sizes["coil"], sizes["slice"], sizes["time"], before)


def _complex64(values: np.ndarray) -> Tensor:
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and infinities are reported with their file
        if values.dtype.kind == "c":
            return torch.from_numpy(values.astype(np.complex64, copy=False))
        joined = np.empty(values.shape, np.complex64)
        joined.real, joined.imag = (values[part] for part in PARTS)
    return torch.from_numpy(joined)
