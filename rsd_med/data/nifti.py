"""Slices of NIfTI volumes, each with its place in the patient."""

import copy
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from rsd_med.base.errors import DataError
from rsd_med.base.notices import say_once
from rsd_med.data.fitting import fit
from rsd_med.data.intensity import Intensities, Percentiles
from rsd_med.data.nifti_file import NiftiVolume, VoxelFiles, file_error, read_header
from rsd_med.data.paths import resolve_root
from rsd_med.data.recognition import files_of_kind, kind_of_file
from rsd_med.data.scan import Geometry, Picture
from rsd_med.data.source import Source, SourceSettings, Values, runs_of

SUFFIXES = (".nii", ".nii.gz")

LIKELY_VOXELS = (1e-3, 100.0)
"""Smallest and largest side of a voxel in mm that is read without a word: from microscopy to coarse surveys."""
"""Endings of names that promise this kind of file."""

_ENDING = re.compile(r"\.nii(\.gz|\.gzip)?$|\.gz(ip)?$", re.IGNORECASE)


class NiftiSettings(SourceSettings):
    """Slices of the NIfTI volumes in a folder, or of one file.

    Slices are kept in the order of the file: never flipped, never reoriented. The first remaining axis of the
    volume becomes y, the second x. Names, descriptions and extensions of the header are never read.
    """

    kind: Literal["nifti"] = "nifti"
    root: str = Field(
        description="a folder (with the folders below it) of NIfTI files, packed with gzip or not, or one such file. "
        "Files are known by their content; one that is called `.nii` or `.nii.gz` has to be one"
    )
    include: str = Field(
        "*", description="which files of a folder to take, as a pattern of their names, for example `*_T1w.nii.gz`"
    )
    axis: Literal[0, 1, 2] = Field(2, description="the axis of the volume that is cut across")
    slices: int | None = Field(None, ge=1, description="how many central slices of each volume to take; null takes all")
    volume: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        0, description="which volume of a four-dimensional file, or `all`, one after the other"
    )
    percentiles: Percentiles = Field(
        (0.0, 99.5),
        description="of each volume, the percentiles of intensity that become -1 and 1; values beyond are clipped. A "
        "complex volume is divided by the upper percentile of its magnitude. Beyond four million voxels they are "
        "those of every k-th",
    )
    resize: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="resample to a square of this side (antialiased); a slice that is not square is padded first",
    )
    pad: int | None = Field(
        None, ge=1, le=4096, description="place in the middle of a square of this side; a longer axis is cut"
    )

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "Nifti":
        """Return the source; of each file only the header is read."""
        del seed
        return Nifti(self, resolve_root(self.root, base_dir))


class Nifti(Source):
    """The slices of NIfTI volumes, each read for itself: memory does not grow with their number.

    A picture's affine maps (y, x, 0) of the fitted slice to millimetres, RAS+.

    Raises
    ------
    DataError
        If there is no file, or one is damaged, impossible, or does not go with the others.
    """

    def __init__(self, settings: NiftiSettings, root: Path) -> None:
        self.settings = settings
        self.files = [self._checked(read_header(path, name)) for path, name in _listed(root, settings.include)]
        _require_one_sort(self.files)
        _say_what_contradicts(self.files)
        self.items = [
            (number, volume, cut)
            for number, file in enumerate(self.files)
            for volume in self._volumes(file)
            for cut in self._cuts(file)
        ]
        self._limits: dict[tuple[int, int], tuple[float, float]] = {}
        self._voxels = VoxelFiles()

    def __len__(self) -> int:
        """Return the number of slices of all volumes."""
        return len(self.items)

    def id(self, index: int) -> str:
        """Return the file's path below the root and the slice's number in the volume."""
        number, volume, cut = self.items[index]
        file = self.files[number]
        several = f"_volume{volume:03d}" if self.settings.volume == "all" and file.held > 1 else ""
        return f"{_stem(file.name)}{several}_slice{cut:03d}"

    def shape(self, index: int) -> tuple[int, ...]:
        """Return (1, H, W)."""
        file = self.files[self.items[index][0]]
        side = self.settings.pad or self.settings.resize
        if side is not None:
            return (1, side, side)
        rows, columns = self._axes()
        return (1, file.shape[rows], file.shape[columns])

    def stacks(self) -> tuple[range, ...]:
        """Return the slices of each volume."""
        return runs_of(item[:2] for item in self.items)

    def __getitem__(self, index: int) -> Picture:
        """Read one slice; when it is the first of its volume, the intensities of all."""
        number, volume, cut = self.items[index]
        file = self.files[number]
        low, high = self._window(number, volume)
        values = self._voxels.cut(file, volume, self.settings.axis, cut)
        if file.is_complex:
            image = torch.from_numpy((values / high).astype(np.complex64)[None])
        else:
            image = torch.from_numpy(np.clip((values - low) * (2 / (high - low)) - 1, -1, 1).astype(np.float32)[None])
        background = 0.0 if file.is_complex else -1.0
        settings = self.settings
        fitted = fit(image, resize=settings.resize, pad=settings.pad, keep_all=True, background=background)
        geometry = fitted.geometry(self._slice_geometry(file, cut))
        return Picture(id=self.id(index), image=fitted.image.contiguous(), geometry=geometry)

    def values(self, index: int) -> Values:
        """Return the file's own values, and the window of its header (cal_min, cal_max)."""
        number, volume, _ = self.items[index]
        file = self.files[number]
        low, high = self._window(number, volume)
        black, white = (float(file.header[name]) for name in ("cal_min", "cal_max"))
        asked = (black, white) if math.isfinite(black) and math.isfinite(white) and black < white else None
        return Values(0.0 if file.is_complex else low, high, window=asked)

    def unclipped(self) -> "Nifti":
        """Return the same slices, from darkest to brightest voxel; no file is looked at again."""
        other = copy.copy(self)
        other.settings = self.settings.model_copy(update={"percentiles": (0.0, 100.0)})
        other._limits = {}
        return other

    def _axes(self) -> tuple[int, int]:
        """Return the axes of the volume that become y and x."""
        rows, columns = (axis for axis in (0, 1, 2) if axis != self.settings.axis)
        return rows, columns

    def _checked(self, file: NiftiVolume) -> NiftiVolume:
        sides = [file.shape[axis] for axis in self._axes()]
        if sides == [1, 1]:
            raise file_error(file.name, f"has slices of one voxel across axis {self.settings.axis}: choose data.axis")
        return file

    def _volumes(self, file: NiftiVolume) -> range:
        wanted = self.settings.volume
        if wanted == "all":
            return range(file.held)
        if wanted >= file.held:
            raise file_error(file.name, f"holds {file.held} volumes, and number {wanted} (from 0) is asked for")
        return range(wanted, wanted + 1)

    def _cuts(self, file: NiftiVolume) -> range:
        total = file.shape[self.settings.axis]
        count = min(total, self.settings.slices or total)
        first = (total - count) // 2
        return range(first, first + count)

    def _slice_geometry(self, file: NiftiVolume, cut: int) -> Geometry:
        order = (*self._axes(), self.settings.axis)
        affine = None
        if file.affine is not None:
            affine = np.eye(4)
            affine[:, :3] = file.affine[:, list(order)]
            affine[:, 3] = file.affine[:, 3] + cut * file.affine[:, self.settings.axis]
        spacing = None if file.zooms is None else tuple(file.zooms[axis] for axis in order)
        return Geometry(affine, spacing)

    def _window(self, number: int, volume: int) -> tuple[float, float]:
        """Return what becomes -1 and 1; the second is what a complex volume is divided by."""
        if (number, volume) not in self._limits:
            file = self.files[number]
            seen = Intensities(file.shape[:3])
            for plane in range(file.shape[2]):
                seen.add(self._voxels.cut(file, volume, 2, plane))
            if seen.bad:
                raise file_error(file.name, f"has {seen.bad} voxels that are NaN or infinite")
            low, high = seen.percentiles(*self.settings.percentiles)
            if file.is_complex and high == 0:
                raise file_error(file.name, "is empty: nearly all its voxels are zero")
            if not file.is_complex and not low < high:
                raise file_error(file.name, f"is constant: its intensities are all about {high:g}")
            self._limits[number, volume] = low, high
        return self._limits[number, volume]


def holds_nifti(path: Path) -> bool:
    """Whether a path is a NIfTI file, or a folder with one in it; what is only called so counts, too."""
    return bool(files_of_kind(path, "nifti", SUFFIXES, deep=True)) if path.is_dir() else _is_nifti(path)


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) or kind_of_file(path) == "nifti"


def _listed(root: Path, include: str) -> list[tuple[Path, str]]:
    """Return the files, each with its path below the root."""
    if not root.exists():
        raise DataError(f"The NIfTI folder or file {root.name} does not exist: check data.root.")
    if not root.is_dir():
        if not _is_nifti(root):
            raise DataError(f"{root.name} is no NIfTI file: check data.root.")
        return [(root, root.name)]
    files = files_of_kind(root, "nifti", SUFFIXES, include, deep=True)
    if not files:
        raise DataError(
            f"The folder {root.name} holds no NIfTI file whose name matches '{include}': check data.root and "
            "data.include."
        )
    named = sorted(((path, path.relative_to(root).as_posix()) for path in files), key=lambda item: _stem(item[1]))
    for (_, one), (_, other) in pairwise(named):
        if _stem(one) == _stem(other):
            raise DataError(
                f"The NIfTI files {one} and {other} differ in their endings alone: rename one; names are ids."
            )
    return named


def _require_one_sort(files: list[NiftiVolume]) -> None:
    for file in files:
        if file.is_complex != files[0].is_complex:
            sorts = (file.name, files[0].name) if file.is_complex else (files[0].name, file.name)
            raise DataError(
                f"The NIfTI file {sorts[0]} is complex and {sorts[1]} is real: choose one sort with data.include."
            )


def _say_what_contradicts(files: list[NiftiVolume]) -> None:
    names = [file.name for file in files if file.contradicts]
    if names:
        say_once(
            f"{len(names)} of {len(files)} NIfTI files, the first {names[0]}, state voxel sizes that are not those of "
            "their affine; the affine is taken."
        )
    least, most = LIKELY_VOXELS
    odd = [file for file in files if file.zooms and not least <= min(file.zooms) <= max(file.zooms) <= most]
    if odd:
        sizes = " x ".join(f"{size:.3g}" for size in odd[0].zooms or ())
        say_once(
            f"{len(odd)} of {len(files)} NIfTI files, the first {odd[0].name}, declare voxels of {sizes} mm; check "
            "their unit (xyzt_units) and sform. They are read as declared."
        )


def _stem(name: str) -> str:
    """Return a name without the ending that says its kind."""
    return _ENDING.sub("", name)
