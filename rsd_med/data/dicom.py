"""Slices of DICOM series, each with its place in the patient and nothing that names the patient."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from rsd_med.base.errors import DataError
from rsd_med.base.notices import say_once
from rsd_med.data.dicom_file import Frame, may_be_dicom, read_frames
from rsd_med.data.dicom_pixels import FileError
from rsd_med.data.dicom_volumes import Stack, split_series, split_volumes
from rsd_med.data.fitting import fit
from rsd_med.data.intensity import Intensities, Percentiles
from rsd_med.data.listing import files_below
from rsd_med.data.paths import resolve_root
from rsd_med.data.recent import RecentArrays
from rsd_med.data.scan import Picture
from rsd_med.data.source import Source, SourceSettings, Values

MAX_FILES = 100_000


class DicomSettings(SourceSettings):
    """Slices of the DICOM series in a folder, or of one file; needs the extra ``dicom``.

    Files are grouped to series and volumes by what they say and by where they lie; nothing depends on file names but
    the order of the series. Files of sorts that are not read are named and left out. Slices are never turned. Ids count
    series and slices. Private attributes (but for the numbers that cut a mosaic), names, dates and identifiers are
    never read; the pixels may still show a face, or text that was burnt in.
    """

    kind: Literal["dicom"] = "dicom"
    root: str = Field(description="a folder (with the folders below it), or one file")
    series: int | None = Field(None, ge=1, description="which series, counted from 1; null takes all that are images")
    slices: int | None = Field(None, ge=1, description="how many central slices of each volume to take; null takes all")
    percentiles: Percentiles = Field(
        (0.0, 99.5),
        description="of each volume, the percentiles of intensity that become -1 and 1; values beyond are clipped. "
        "Beyond four million voxels they are those of every k-th",
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

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "Dicom":
        """Return the source; of each file only the header is read."""
        del seed
        return Dicom(self, resolve_root(self.root, base_dir))


@dataclass(frozen=True)
class _Volume:
    """A stack, and which of its slices are taken."""

    name: str
    stack: Stack
    first: int
    taken: int


class Dicom(Source):
    """The slices of DICOM series, each read for itself.

    A picture's affine maps (y, x, 0) of the fitted slice to millimetres, RAS+.

    Raises
    ------
    DataError
        If there is no DICOM image, or a file is damaged, impossible, or packed in a way that is not read.
    ProtocolError
        If pydicom is not installed.
    """

    def __init__(self, settings: DicomSettings, root: Path) -> None:
        self.settings = settings
        self._volumes = _volumes(_listed(root, settings.series), settings)
        self._items = [
            (number, cut)
            for number, volume in enumerate(self._volumes)
            for cut in range(volume.first, volume.first + volume.taken)
        ]
        self._limits: dict[int, tuple[float, float]] = {}
        self._stored = RecentArrays()

    def __len__(self) -> int:
        """Return the number of slices of all series."""
        return len(self._items)

    def id(self, index: int) -> str:
        """Return the numbers of series and slice: ``series01_slice004``."""
        number, cut = self._items[index]
        return f"{self._volumes[number].name}_slice{cut:03d}"

    def shape(self, index: int) -> tuple[int, ...]:
        """Return (1, H, W)."""
        side = self.settings.pad or self.settings.resize
        number, cut = self._items[index]
        return (1, *((side, side) if side is not None else self._volumes[number].stack.frames[cut].shape))

    def stacks(self) -> tuple[range, ...]:
        """Return the slices of each volume."""
        starts = np.cumsum([0, *(volume.taken for volume in self._volumes)])
        return tuple(range(int(start), int(stop)) for start, stop in pairwise(starts))

    def __getitem__(self, index: int) -> Picture:
        """Read one slice; when it is the first of its volume, the intensities of all."""
        number, cut = self._items[index]
        volume = self._volumes[number]
        low, high = self._window(number)
        values = np.clip((self._values(volume.stack.frames[cut]) - low) * (2 / (high - low)) - 1, -1, 1)
        image = torch.from_numpy(values.astype(np.float32)[None])
        fitted = fit(image, resize=self.settings.resize, pad=self.settings.pad, keep_all=True, background=-1.0)
        geometry = fitted.geometry(volume.stack.geometry(cut))
        return Picture(id=self.id(index), image=fitted.image.contiguous(), geometry=geometry)

    def values(self, index: int) -> Values:
        """Return the file's own values, and the window that the slice asks to be shown under."""
        number, cut = self._items[index]
        frame = self._volumes[number].stack.frames[cut]
        return Values(*self._window(number), unit=frame.unit, window=frame.window)

    def unclipped(self) -> "Dicom":
        """Return the same slices, from darkest to brightest voxel; no file is looked at again."""
        other = copy.copy(self)
        other.settings = self.settings.model_copy(update={"percentiles": (0.0, 100.0)})
        other._limits = {}
        return other

    def _values(self, frame: Frame) -> np.ndarray:
        pixels, index = frame.pixels, frame.index
        return frame.values(self._stored.get((pixels.number, index), lambda: pixels.read(index)))

    def _window(self, number: int) -> tuple[float, float]:
        if number not in self._limits:
            frames = self._volumes[number].stack.frames
            first = frames[0].pixels.number
            seen = Intensities((*frames[0].shape, len(frames)))
            for frame in frames:
                seen.add(self._values(frame))
            if seen.bad:
                raise FileError(first, f"begins a volume with {seen.bad} voxels that are NaN or infinite")
            low, high = seen.percentiles(*self.settings.percentiles)
            if not low < high:
                raise FileError(first, f"begins a volume that is constant: its values are all about {high:g}")
            self._limits[number] = low, high
        return self._limits[number]


def _listed(root: Path, wanted: int | None) -> list[list[Frame]]:
    """Return the frames of each series, the series in the order of their first files.

    A file of a sort that is not read is left out, with a warning; so is a damaged one where another series is asked
    for.
    """
    paths = [path for path in _paths(root) if path.name.upper() != "DICOMDIR" and may_be_dicom(path)]
    if not paths:
        raise DataError("There is no DICOM file at the given place: check the path.")
    if len(paths) > MAX_FILES:
        raise DataError(f"There are {len(paths)} DICOM files; at most {MAX_FILES} are read at once: choose a folder.")
    groups: dict[str, list[Frame]] = {}
    objects: set[str] = set()
    refusals: list[FileError] = []
    for number, path in enumerate(paths, 1):
        try:
            contents = read_frames(path, number)
        except FileError as error:
            if wanted is None and not error.foreign:
                raise
            refusals.append(error)
            continue
        if contents.frames and contents.instance and contents.instance in objects:
            refusals.append(FileError(number, "is a copy of another", foreign=True))
        elif contents.frames:
            objects.add(contents.instance)
            groups.setdefault(contents.series, []).extend(contents.frames)
    if not groups:
        raise refusals[0] if refusals else DataError("None of the DICOM files holds an image: check the path.")
    series = [(name, part) for name, frames in groups.items() for part in split_series(frames)]
    if wanted is not None and wanted <= len(series):
        for refusal in refusals:
            if not refusal.foreign and refusal.series == series[wanted - 1][0]:
                raise refusal
    _say_left_out(refusals)
    return [part for _, part in series]


def _paths(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    if root.is_dir():
        return files_below(root, named=False)
    raise DataError("The DICOM folder or file does not exist: check the path.")


def _say_left_out(refusals: Sequence[FileError]) -> None:
    """Name the files that are not read, once for each reason."""
    numbers: dict[str, list[int]] = {}
    for error in refusals:
        numbers.setdefault(error.problem, []).append(error.number)
    for problem, alike in numbers.items():
        others = f" (as {len(alike) - 1} others)" if len(alike) > 1 else ""
        say_once(f"DICOM file {alike[0]}{others} (in the order of their names) {problem}. Left out; the rest is read.")


def _volumes(series: list[list[Frame]], settings: DicomSettings) -> list[_Volume]:
    if settings.series is not None and settings.series > len(series):
        raise DataError(f"There are {len(series)} series of DICOM images, and number {settings.series} is asked for.")
    volumes = []
    for number, frames in enumerate(series, 1):
        if settings.series not in (None, number):
            continue
        stacks = split_volumes(frames, f"series {number}")
        for part, stack in enumerate(stacks, 1):
            name = f"series{number:02d}" + (f"_volume{part:02d}" if len(stacks) > 1 else "")
            taken = min(len(stack.frames), settings.slices or len(stack.frames))
            volumes.append(_Volume(name, stack, (len(stack.frames) - taken) // 2, taken))
    return volumes
