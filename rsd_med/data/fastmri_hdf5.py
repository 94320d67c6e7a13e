"""Slices of k-space in the HDF5 layout of the fastMRI data set, read one at a time."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.limits import MAX_COILS
from rsd_med.base.notices import say_once
from rsd_med.calibration.scale import central_run, contiguous
from rsd_med.data.fastmri_target import acquisition_of, read_target, say_what_is_mixed
from rsd_med.data.hdf5 import checked_dataset, read, read_near
from rsd_med.data.ismrmrd_header import Header, stored_header
from rsd_med.data.open_files import OpenFiles
from rsd_med.data.paths import file_identity, resolve_root
from rsd_med.data.readout import central_rows, sampled_rows, without_oversampling
from rsd_med.data.recent import RecentArrays
from rsd_med.data.recognition import files_of_kind
from rsd_med.data.scan import Geometry, Scan
from rsd_med.data.source import Source, SourceSettings, Target, runs_of

if TYPE_CHECKING:
    import h5py


SUFFIXES = (".h5", ".hdf5")
"""Endings of names that promise this kind of file."""


class FastMRIHDF5Settings(SourceSettings):
    """Settings of the ``fastmri_hdf5`` reader."""

    kind: Literal["fastmri_hdf5"] = "fastmri_hdf5"
    root: str = Field(
        description="a folder of `.h5` files, or one file. Environment variables and `~` are expanded; a relative "
        "path is relative to the protocol"
    )
    slices: int | None = Field(None, gt=0, description="how many central slices of each volume to use; null takes all")
    remove_readout_oversampling: bool = Field(
        True,
        description="crop the field of view along the readout to the header's reconstructed matrix. Scanners sample "
        "the readout twice as densely as needed; the other half of the image is air",
    )
    acquisition: str | None = Field(
        None, description="use only files of this acquisition, as fastMRI names it: AXT2, CORPD_FBK, …; null takes all"
    )
    limit: int | None = Field(
        None, gt=0, description="use only this many slices, the first in the order of the file names; null takes all"
    )

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "FastMRIHDF5":
        """Index the files; ``seed`` is not used, nothing here is random.

        Raises
        ------
        DataError
            If the root does not exist, holds no HDF5 file, or one of its files is not what it claims to be.
        """
        return FastMRIHDF5(
            resolve_root(self.root, base_dir),
            slices=self.slices,
            remove_readout_oversampling=self.remove_readout_oversampling,
            acquisition=self.acquisition,
            limit=self.limit,
        )


@dataclass(frozen=True)
class _Volume:
    """What the index keeps of a file: sizes and the allow-listed part of its header."""

    path: Path
    shape: tuple[int, ...]  # of k-space in the file
    offset: int | None  # where the data begin in the file; None where they are packed
    slice_bytes: int
    slices: int
    coils: int
    stored: tuple[int, int]  # (y, x) in the file
    rows: int  # y after removing readout oversampling
    header: Header
    acquisition: str | None


@dataclass
class _Contents:
    """The checked datasets of an open file, and what is the same for all its slices."""

    kspace: "h5py.Dataset"
    mask: "h5py.Dataset | None"
    maps: "h5py.Dataset | None"
    lines: int | None
    declared: Tensor | None = None  # by the first slice read, where the mask is the same for all


class FastMRIHDF5(Source):
    """Slices of multi-coil or single-coil k-space.

    Files hold ``kspace``, complex, (slice, coil, y, x) or (slice, y, x), with the readout along y; ``ismrmrd_header``;
    for undersampled scans a ``mask``, (x,) or (slice, x). Files written by ``rsd_med.simulate`` also hold
    ``sensitivity_maps``, (slice, coil, y, x), which stand for a calibration scan. Files may differ in size and number
    of coils. Reconstructions in the files (``reconstruction_rss``, ``reconstruction_esc``) are read by `target` alone,
    which measures figures and is never called in training.

    An item's id is its file's name without the suffix and the slice number: give files neutral names, for ids appear
    in logs. Patient identifiers (the ``patient_id`` attribute, the header's subject) are never read.

    Parameters
    ----------
    root
        Folder or file.
    slices
        Central slices per volume; None takes all.
    remove_readout_oversampling
        Crop the readout to the header's reconstructed matrix.
    acquisition
        Files of another one are left out; None takes all.
    limit
        Number of slices in all; None takes all.

    Raises
    ------
    DataError
        If there is nothing to read, or a file is damaged, malformed or hides its data elsewhere.
    """

    def __init__(
        self,
        root: Path,
        slices: int | None = None,
        remove_readout_oversampling: bool = True,
        limit: int | None = None,
        acquisition: str | None = None,
    ) -> None:
        self._open = OpenFiles(_contents)
        self._recent = RecentArrays()
        self._items: list[tuple[_Volume, int]] = []
        there: list[str | None] = []
        for path in _files(root):
            with self._open.reading(path) as contents:  # left open: the first slices need not open it again
                volume = _index(path, contents.kspace, remove_readout_oversampling)
            there.append(volume.acquisition)
            if acquisition not in (None, volume.acquisition):
                continue
            taken = volume.slices if slices is None else min(slices, volume.slices)
            first = (volume.slices - taken) // 2
            self._items.extend((volume, number) for number in range(first, first + taken))
            if limit is not None and len(self._items) >= limit:
                del self._items[limit:]
                break
        if not self._items:
            listed = ", ".join(sorted({name or "unnamed" for name in there}))
            raise DataError(f"No file of '{root.name}' is of the acquisition {acquisition}; those there are: {listed}.")
        if acquisition is None:
            say_what_is_mixed(there)

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self._items)

    def id(self, index: int) -> str:
        """Return ``<file stem>_<slice>``."""
        volume, number = self._items[index]
        return f"{volume.path.stem}_{number:03d}"

    def shape(self, index: int) -> tuple[int, int, int]:
        """Return (coil, y, x) without reading the slice."""
        volume, _ = self._items[index]
        return volume.coils, volume.rows, volume.stored[1]

    def stacks(self) -> tuple[range, ...]:
        """Return the slices of each file."""
        return runs_of(volume.path for volume, _ in self._items)

    def file_name(self, index: int) -> str:
        """Return the file's name, by which fastMRI's evaluation goes."""
        return self._items[index][0].path.name

    def target(self, index: int) -> Target | None:
        """Return ``reconstruction_rss``, or of one coil ``reconstruction_esc``, and the attribute ``max``."""
        volume, number = self._items[index]
        with self._open.reading(volume.path) as contents:
            return read_target(contents.kspace.file, number, volume.slices)

    def header(self, index: int) -> Header:
        """Return the allow-listed part of the file's header."""
        return self._items[index][0].header

    def origin(self, index: int) -> tuple[object, ...] | None:
        """Return the file, as it is now, the slice, and how many of its rows are kept."""
        volume, number = self._items[index]
        file = file_identity(volume.path)
        return None if file is None else (*file, number, volume.rows)

    def expect(self, indices: Sequence[int]) -> None:
        """Have the operating system fetch these slices at once; a disk answers many requests sooner than one by one."""
        if not hasattr(os, "posix_fadvise"):
            return
        for volume, number in (self._items[index] for index in indices):
            if volume.offset is None:
                continue
            size = volume.slice_bytes
            with suppress(OSError):  # reading itself will say what is wrong
                handle = os.open(volume.path, os.O_RDONLY)
                try:
                    os.posix_fadvise(handle, 0, volume.offset, os.POSIX_FADV_WILLNEED)
                    os.posix_fadvise(handle, volume.offset + number * size, size, os.POSIX_FADV_WILLNEED)
                finally:
                    os.close(handle)

    def __getitem__(self, index: int) -> Scan:
        """Read one slice.

        Raises
        ------
        IndexError
            Past the end.
        DataError
            If the slice is damaged, holds NaN or infinities, or nothing at all.
        """
        volume, number = self._items[index]
        where = f"{volume.path.name}, slice {number}"
        with self._open.reading(volume.path) as contents:
            if contents.kspace.shape != volume.shape:
                raise DataError(f"{where}: the file has changed since it was indexed; start again.")
            kspace = _complex64(read_near(contents.kspace, number, self._recent, file_identity(volume.path)))
            declared = _declared_mask(contents, volume, number)
            lines = contents.lines
            maps = _read_maps(contents.maps, volume, number, self._recent)
        if kspace.ndim == 2:
            kspace = kspace[None]
        # Whatever stands outside the mask is no measurement: gone before anything looks at it.
        if not bool(declared.all()):
            kspace[..., ~declared] = 0
        if not _is_finite(kspace):
            raise DataError(f"{where}: k-space holds NaN or infinite values; repair or remove the file.")
        acquired = _acquired_columns(kspace)
        if not bool(acquired.any()):
            raise DataError(f"{where}: k-space is zero everywhere; remove the slice or write it again.")
        kspace, readout = without_oversampling(kspace, sampled_rows(kspace), volume.rows)
        return Scan(
            id=self.id(index),
            kspace=kspace,
            acquired=acquired,
            maps=maps,
            acs_lines=_acs_lines(acquired, lines),
            geometry=Geometry(spacing_mm=_spacing(volume)),
            readout=readout,
            reconstructed=_reconstructed(volume),
        )


def _files(root: Path) -> Iterator[Path]:
    """Yield the HDF5 files of a folder in the order of their names, or the one file."""
    if root.is_file():
        yield root
        return
    if not root.is_dir():
        raise DataError(
            f"The data root '{root.name}' does not exist; write the folder with the .h5 files into the protocol's "
            "'root', or mount it."
        )
    paths = files_of_kind(root, "fastmri_hdf5", SUFFIXES)
    if not paths:
        raise DataError(f"The folder '{root.name}' holds no .h5 file; point 'root' to the folder that does.")
    stems = [path.stem for path in paths]
    for path in paths:
        if stems.count(path.stem) > 1:
            raise DataError(f"Two files are named '{path.stem}' but for their suffix; rename one, names are ids.")
    yield from paths


def _index(path: Path, dataset: "h5py.Dataset", remove_oversampling: bool) -> _Volume:
    shape, offset = dataset.shape, dataset.id.get_offset()
    slice_bytes = math.prod(shape[1:]) * dataset.dtype.itemsize
    slices, coils, rows, columns = shape if len(shape) == 4 else (shape[0], 1, *shape[1:])
    if coils > MAX_COILS:
        raise DataError(
            f"{path.name}: 'kspace' has shape {shape}, that is {coils} coils; its axes must be (slice, coil, "
            "readout, phase)."
        )
    header = stored_header(dataset.file, "ismrmrd_header", path.name)
    if len(shape) == 3 and header == Header():
        say_once(
            f"{path.name}: 'kspace' has three axes and no header says what the first is: by fastMRI's rule its "
            f"{slices} entries are taken for slices of one coil. If they are coils, write it as (1, coil, y, x)."
        )
    target = rows
    if remove_oversampling and header.encoded.matrix is not None and header.recon.matrix is not None:
        encoded, recon = header.encoded.matrix[0], header.recon.matrix[0]
        if encoded == rows and recon < encoded:
            target = recon
    return _Volume(
        path,
        shape,
        offset,
        slice_bytes,
        slices,
        coils,
        stored=(rows, columns),
        rows=target,
        header=header,
        acquisition=acquisition_of(dataset.file),
    )


def _complex64(values: np.ndarray) -> Tensor:
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and infinities are reported with their file
        return torch.from_numpy(values.astype(np.complex64, copy=False))


def _kspace(file: "h5py.File") -> "h5py.Dataset":
    dataset = checked_dataset(file, "kspace", "c", (3, 4))
    if dataset is None:
        raise DataError(f"{Path(file.filename).name}: there is no 'kspace' in this file; is it a fastMRI file?")
    return dataset


def _contents(file: "h5py.File") -> _Contents:
    """Check what will be read of a file, once each time it is opened."""
    return _Contents(
        kspace=_kspace(file),
        mask=checked_dataset(file, "mask", "biuf", (1, 2)),
        maps=checked_dataset(file, "sensitivity_maps", "c", (4,)),
        lines=_declared_lines(file),
    )


def _declared_mask(contents: _Contents, volume: _Volume, number: int) -> Tensor:
    """Return the columns that file and header call sampled, bool, (x,)."""
    if contents.declared is not None:
        return contents.declared
    columns = volume.stored[1]
    declared = torch.ones(columns, dtype=torch.bool)
    mask = contents.mask
    if mask is not None:
        if mask.shape not in ((columns,), (volume.slices, columns)):
            raise DataError(
                f"{volume.path.name}: 'mask' has shape {mask.shape}; it must be ({columns},) or "
                f"({volume.slices}, {columns}), one entry per column of k-space."
            )
        values = read(mask) if mask.ndim == 1 else read(mask, number)
        declared &= torch.from_numpy(values != 0)
    matrix, limits = volume.header.encoded.matrix, volume.header.phase_limits
    if matrix is not None and limits is not None and matrix[1] == columns:
        # Padding as fastMRI derives it: the first step lies as far left of the centre as the header's centre says.
        _, last, centre = limits
        left = columns // 2 - centre
        inside = torch.arange(columns)
        within = (inside >= left) & (inside <= left + last)
        if left >= 0 and bool(within.any()):
            declared &= within
    if mask is None or mask.ndim == 1:
        contents.declared = declared
    return declared


def _is_finite(kspace: Tensor) -> bool:
    """Say whether all values are finite; a sum that is finite tells it in a tenth of the time."""
    parts = torch.view_as_real(kspace)
    return math.isfinite(float(parts.sum())) or bool(torch.isfinite(parts).all())


def _acquired_columns(kspace: Tensor) -> Tensor:
    """Return the columns with any value that is not zero, bool, (x,); most show it in their central row."""
    acquired = kspace[0, kspace.shape[1] // 2] != 0
    undecided = torch.nonzero(~acquired).flatten()
    if len(undecided):
        acquired[undecided] = (kspace[..., undecided] != 0).flatten(0, 1).any(0)
    return acquired


def _declared_lines(file: "h5py.File") -> int | None:
    """Return fastMRI's ``num_low_frequency`` where it is a number."""
    try:
        value = file.attrs.get("num_low_frequency")
        return None if value is None else int(np.asarray(value).reshape(()))
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _acs_lines(acquired: Tensor, declared: int | None) -> int | None:
    """Return the number of central lines of an undersampled scan, checked against the lines that are there."""
    if contiguous(acquired):
        return None  # no gap: the scan is fully sampled and has no ACS of its own
    if declared is not None and 0 < declared <= central_run(acquired):
        return declared
    return central_run(acquired)


def _read_maps(dataset: "h5py.Dataset | None", volume: _Volume, number: int, recent: RecentArrays) -> Tensor | None:
    if dataset is None:
        return None
    columns = volume.stored[1]
    allowed = {(volume.slices, volume.coils, rows, columns) for rows in (volume.rows, volume.stored[0])}
    if dataset.shape not in allowed:
        raise DataError(
            f"{volume.path.name}: 'sensitivity_maps' has shape {dataset.shape}, which does not belong to a k-space of "
            f"{volume.slices} slices, {volume.coils} coils, {volume.stored[0]} × {columns}."
        )
    maps = _complex64(read_near(dataset, number, recent, file_identity(volume.path)))
    if not _is_finite(maps):
        raise DataError(f"{volume.path.name}: 'sensitivity_maps' holds NaN or infinite values; write it again.")
    return central_rows(maps, volume.rows)


def _reconstructed(volume: _Volume) -> tuple[int, int] | None:
    """Return the part of the image that the header's reconstructed matrix covers, where its spaces fit the array."""
    encoded, recon = volume.header.encoded.matrix, volume.header.recon.matrix
    if encoded is None or recon is None or encoded[:2] != volume.stored:
        return None
    rows, columns = volume.rows, volume.stored[1]
    part = min(rows, recon[0]), min(columns, recon[1])
    return None if part == (rows, columns) else part


def _spacing(volume: _Volume) -> tuple[float, float] | None:
    """Return the pixel spacing (y, x) in millimetres if the header's spaces fit the array."""
    encoded = volume.header.encoded
    if encoded.matrix is None or encoded.fov_mm is None or encoded.matrix[:2] != volume.stored:
        return None
    return encoded.fov_mm[0] / encoded.matrix[0], encoded.fov_mm[1] / encoded.matrix[1]
