"""Slices of DICOM series, each with its place in the patient and nothing that names the patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from rsd_med.base.errors import DataError
from rsd_med.data.dicom_file import Frame, file_error, is_dicom, read_frames, read_pixels
from rsd_med.data.fitting import fit
from rsd_med.data.intensity import Intensities, Percentiles
from rsd_med.data.listing import files_below
from rsd_med.data.orientation import slice_affine
from rsd_med.data.paths import resolve_root
from rsd_med.data.scan import Geometry, Picture
from rsd_med.data.source import Source, SourceSettings

MAX_FILES = 100_000


class DicomSettings(SourceSettings):
    """Slices of the DICOM series in a folder, or of one file; needs the extra ``dicom``.

    Files are grouped to series by what they say, slices ordered by where they lie; nothing depends on file names but
    the order of the series. Slices are never turned. Ids count series and slices. Private attributes, names, dates and
    identifiers are never read; the pixels may still show a face, or text that was burnt in.
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
    """Slices that lie on one another, in the order of their places."""

    name: str
    frames: tuple[Frame, ...]
    first: int  # number of the first slice taken
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
        self._volumes = _volumes(_series(root), settings)
        self._items = [
            (number, cut)
            for number, volume in enumerate(self._volumes)
            for cut in range(volume.first, volume.first + volume.taken)
        ]
        self._limits: dict[int, tuple[float, float]] = {}

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
        return (1, *((side, side) if side is not None else self._volumes[number].frames[cut].shape))

    def stacks(self) -> tuple[range, ...]:
        """Return the slices of each volume."""
        starts = np.cumsum([0, *(volume.taken for volume in self._volumes)])
        return tuple(range(int(start), int(stop)) for start, stop in pairwise(starts))

    def __getitem__(self, index: int) -> Picture:
        """Read one slice; when it is the first of its volume, the intensities of all."""
        number, cut = self._items[index]
        volume = self._volumes[number]
        low, high = self._window(number)
        values = np.clip((read_pixels(volume.frames[cut]) - low) * (2 / (high - low)) - 1, -1, 1)
        image = torch.from_numpy(values.astype(np.float32)[None])
        fitted = fit(image, resize=self.settings.resize, pad=self.settings.pad, keep_all=True, background=-1.0)
        geometry = fitted.geometry(_geometry(volume.frames, cut))
        return Picture(id=self.id(index), image=fitted.image.contiguous(), geometry=geometry)

    def _window(self, number: int) -> tuple[float, float]:
        if number not in self._limits:
            frames = self._volumes[number].frames
            seen = Intensities((*frames[0].shape, len(frames)))
            for frame in frames:
                seen.add(read_pixels(frame))
            if seen.bad:
                raise file_error(frames[0].file, f"begins a volume with {seen.bad} voxels that are NaN or infinite")
            low, high = seen.percentiles(*self.settings.percentiles)
            if not low < high:
                raise file_error(frames[0].file, f"begins a volume that is constant: its values are all about {high:g}")
            self._limits[number] = low, high
        return self._limits[number]


def _series(root: Path) -> list[list[Frame]]:
    """Return the frames of each series, the series in the order of their first files."""
    if root.is_file():
        paths = [root]
    elif root.is_dir():
        paths = files_below(root, named=False)
    else:
        raise DataError("The DICOM folder or file does not exist: check the path.")
    found = [path for path in paths if path.name.upper() != "DICOMDIR" and is_dicom(path)]
    if not found:
        raise DataError("There is no DICOM file at the given place: check the path.")
    if len(found) > MAX_FILES:
        raise DataError(f"There are {len(found)} DICOM files; at most {MAX_FILES} are read at once: choose a folder.")
    groups: dict[tuple[object, ...], list[Frame]] = {}
    for number, path in enumerate(found, 1):
        common, frames = read_frames(path, number)
        if frames:
            groups.setdefault(common, []).extend(frames)
    if not groups:
        raise DataError("None of the DICOM files holds an image: check the path.")
    return list(groups.values())


def _volumes(series: list[list[Frame]], settings: DicomSettings) -> list[_Volume]:
    if settings.series is not None and settings.series > len(series):
        raise DataError(f"There are {len(series)} series of DICOM images, and number {settings.series} is asked for.")
    volumes = []
    for number, frames in enumerate(series, 1):
        if settings.series not in (None, number):
            continue
        parts = _stacked(frames)
        for part, stack in enumerate(parts, 1):
            name = f"series{number:02d}" + (f"_volume{part:02d}" if len(parts) > 1 else "")
            taken = min(len(stack), settings.slices or len(stack))
            volumes.append(_Volume(name, tuple(stack), (len(stack) - taken) // 2, taken))
    return volumes


def _stacked(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return volumes, slices ordered along their normal; places that are there several times make several volumes."""
    ordered = sorted(frames, key=lambda frame: (frame.instance, frame.file, frame.index))
    heights = [_height(frame) for frame in ordered]
    if any(height is None for height in heights):
        return [ordered]  # places unknown: in the order of acquisition
    places: dict[float, list[Frame]] = {}
    for frame, height in zip(ordered, heights, strict=True):
        places.setdefault(height or 0.0, []).append(frame)
    return [
        [places[height][turn] for height in sorted(places) if turn < len(places[height])]
        for turn in range(max(map(len, places.values())))
    ]


def _height(frame: Frame) -> float | None:
    """Return where a slice lies along its normal, in hundredths of a millimetre; None where unknown."""
    if frame.position is None or frame.orientation is None:
        return None
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    return round(float(normal @ np.asarray(frame.position)), 2)


def _geometry(frames: Sequence[Frame], cut: int) -> Geometry:
    """Return where a slice of a volume lies."""
    frame, first, last = frames[cut], frames[0], frames[-1]
    if frame.spacing is None:
        return Geometry()
    if frame.position is None or frame.orientation is None or first.position is None or last.position is None:
        return Geometry(None, frame.spacing)
    step: list[float] | float = frame.thickness or 1.0
    if len(frames) > 1:
        step = [(b - a) / (len(frames) - 1) for a, b in zip(first.position, last.position, strict=True)]
    down, across = frame.orientation[3:], frame.orientation[:3]
    affine = slice_affine(frame.position, down, across, frame.spacing, step)
    if affine is None:
        return Geometry(None, frame.spacing)
    return Geometry(affine, (*frame.spacing, float(np.linalg.norm(affine[:3, 2]))))
