"""Images stored as one NumPy array: ``.npy`` (read image by image) or ``.npz``."""

import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.data.fitting import fit
from rsd_med.data.paths import resolve_root
from rsd_med.data.scan import Picture
from rsd_med.data.source import Source, SourceSettings, Values

MAX_NPZ_BYTES = 8 * 2**30
"""Largest array read from an ``.npz``, which has to be held in memory; an ``.npy`` is read image by image."""

PICTURE_CHANNELS = (1, 3)


class ArraysSettings(SourceSettings):
    """Images stored as one NumPy array.

    The array is (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 (grey) or 3 (RGB); C = 2 in floating point is
    (real, imaginary), as this package writes its own complex samples. uint8 is mapped to [-1, 1]; other real numbers
    need ``range``; complex numbers give complex pictures.
    """

    kind: Literal["arrays"] = "arrays"
    root: str = Field(description="the file, `.npy` or `.npz`")
    key: str | None = Field(
        None, description="which array of an `.npz`; not needed if it holds one array, or one named `images`"
    )
    channels: Literal["auto", "first", "last"] = Field(
        "auto",
        description='where the channels of a four-dimensional array are; "auto" takes the axis that is 1, 2 or 3 long',
    )
    range: tuple[float, float] | None = Field(
        None, description="the values that mean black and white, for example [0, 1]"
    )
    scale: Literal["percentile"] | Annotated[float, Field(gt=0)] = Field(
        "percentile",
        description='what complex images are divided by: a number, or "percentile" for each image\'s 99th percentile '
        "of magnitude",
    )
    skip: int = Field(0, ge=0, description="leave out the first images")
    limit: int | None = Field(None, ge=1, description="take at most this many of the others")
    indices: tuple[int, ...] | None = Field(None, description="take these images instead")
    resize: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="resample to a square of this side (antialiased); an image that is not square is cut to its "
        "centre first",
    )
    pad: int | None = Field(
        None, ge=1, le=4096, description="place in the middle of a square of this side, on black: MNIST's 28 becomes 32"
    )

    @field_validator("range")
    @classmethod
    def _rising(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError("the value of black must be below that of white")
        return value

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "Arrays":
        """Return the source; of the file only the header is read."""
        del seed
        return Arrays(self, resolve_root(self.root, base_dir))


class Arrays(Source):
    """The images of one array.

    Raises
    ------
    DataError
        If the file is missing, no array of numbers, empty, or of a shape or type without a rule.
    """

    def __init__(self, settings: ArraysSettings, path: Path) -> None:
        self.settings = settings
        self.path = path
        self.key, self.array_shape, self.dtype, self._stored = self._header()
        self.layout, self.num_channels = self._layout()
        self.is_complex = self.dtype.kind == "c" or self.num_channels == 2
        self._check_numbers()
        self.indices = self._chosen()
        self._data: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of images taken."""
        return len(self.indices)

    def id(self, index: int) -> str:
        """Return the file's name and the image's number in the array."""
        return f"{self.path.stem}_{self.indices[index]:06d}"

    def shape(self, index: int) -> tuple[int, ...]:
        """Return (C, H, W)."""
        self.indices[index]
        side = self.settings.pad or self.settings.resize
        channels = 1 if self.is_complex else self.num_channels
        if side is not None:
            return (channels, side, side)
        rows = 2 if self.layout == "first" else 1
        return (channels, *self.array_shape[rows : rows + 2])

    def __getitem__(self, index: int) -> Picture:
        """Read one image."""
        values = self._values(self.indices[index])
        if values.dtype.kind in "fc" and not np.isfinite(values).all():
            raise self._error(f"image {self.indices[index]} holds NaN or infinite values")
        if self.layout is None:
            values = values[None]
        elif self.layout == "last":
            values = np.moveaxis(values, -1, 0)
        image = self._complex_picture(values) if self.is_complex else self._real_picture(values, index)
        background = 0.0 if self.is_complex else -1.0
        fitted = fit(image, resize=self.settings.resize, pad=self.settings.pad, background=background)
        return Picture(id=self.id(index), image=fitted.image.contiguous())

    def values(self, index: int) -> Values | None:
        """Return the array's own values; None of complex pictures, each of which has a scale of its own."""
        del index
        if self.is_complex:
            return None
        return Values(*(self.settings.range or (0.0, 255.0)))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the data behind: each process opens the file for itself."""
        return {**self.__dict__, "_data": None}

    def _real_picture(self, values: np.ndarray, index: int) -> Tensor:
        low, high = (0.0, 255.0) if self.settings.range is None else self.settings.range
        if values.dtype != np.uint8 or self.settings.range is not None:
            slack = 1e-3 * (high - low)
            if values.min() < low - slack or values.max() > high + slack:
                raise self._error(
                    f"image {self.indices[index]} has values from {values.min():.4g} to {values.max():.4g}, "
                    f"outside the declared range [{low:g}, {high:g}]: declare the true range"
                )
        image = torch.from_numpy(np.array(values, dtype=np.float32))
        return ((image - low) * (2 / (high - low)) - 1).clamp(-1, 1)

    def _complex_picture(self, values: np.ndarray) -> Tensor:
        if self.num_channels == 2:
            values = values[:1] + 1j * values[1:]
        image = torch.from_numpy(np.array(values, dtype=np.complex64))
        if self.settings.scale != "percentile":
            return image / self.settings.scale
        scale = torch.quantile(image.abs().flatten(), 0.99).item()
        return image / scale if scale > 0 else image

    def _values(self, number: int) -> np.ndarray:
        """Return one image as it is stored: read, not mapped, for a mapped file that is cut short ends the process."""
        if self._stored is None or self._stored.fortran_order:
            return self._array()[number]
        size = math.prod(self.array_shape[1:]) * self.dtype.itemsize
        with self._opened() as file:
            file.seek(self._stored.offset + number * size)
            content = file.read(size)
        if len(content) < size:
            raise self._error("is damaged or cut short: copy it again")
        return np.frombuffer(content, self.dtype).reshape(self.array_shape[1:])

    def _array(self) -> np.ndarray:
        """Return the whole array of an archive, or of a file in which the numbers of an image lie apart."""
        if self._data is None:
            try:
                with self._opened() as file:
                    stored = np.load(file, allow_pickle=False)
                    self._data = stored if self.key is None else stored[self.key]
            except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
                raise self._error("is damaged or cut short: copy it again") from problem
        return self._data

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Open the file that the header was read from; DataError where it is not that file any more."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            raise self._error("is not there any more: put it back, then start again") from None
        except OSError as problem:
            raise self._error(f"cannot be read ({(problem.strerror or str(problem)).lower()})") from problem
        with file:
            if _identity(file) != self._identity:
                raise self._error(
                    "has changed since it was opened: to change the data of a run, write another file and start again"
                )
            yield file

    # --- what the header says ----------------------------------------------------------------------------------

    def _header(self) -> tuple[str | None, tuple[int, ...], np.dtype[Any], "_Stored | None"]:
        path = self.path
        if not path.is_file():
            raise self._error("does not exist: check data.root")
        try:
            if path.suffix == ".npy":
                with path.open("rb") as file:
                    self._identity = _identity(file)
                    shape, dtype, stored = _npy_header(file)
                if self._identity[0] < stored.offset + math.prod(shape) * dtype.itemsize:
                    raise self._error("is damaged or cut short: copy it again")
                if stored.fortran_order and math.prod(shape) * dtype.itemsize > MAX_NPZ_BYTES:
                    raise self._error(
                        "is larger than what can be held in memory and in Fortran's order: store it in C's order"
                    )
                return None, shape, dtype, stored
            if path.suffix == ".npz":
                with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                    self._identity = _identity(file)
                    key = self._member([name.removesuffix(".npy") for name in archive.namelist()])
                    declared = archive.getinfo(f"{key}.npy").file_size
                    with archive.open(f"{key}.npy") as member:
                        shape, dtype, _ = _npy_header(io.BytesIO(member.read(2**16)))
                if max(declared, math.prod(shape) * dtype.itemsize) > MAX_NPZ_BYTES:
                    raise self._error("is larger than what can be held in memory: store it as .npy")
                return key, shape, dtype, None
        except PermissionError as problem:
            raise self._error("may not be read: give yourself permission to read it") from problem
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as problem:
            raise self._error("is no NumPy file, or a damaged one") from problem
        raise self._error("is neither .npy nor .npz")

    def _member(self, names: list[str]) -> str:
        wanted = self.settings.key
        if wanted is None:
            wanted = names[0] if len(names) == 1 else "images"
        if wanted not in names:
            listed = ", ".join(sorted(names)) or "nothing"
            raise self._error(f"has no array '{wanted}' (it holds {listed}): set key to one of them")
        return wanted

    def _layout(self) -> tuple[Literal["first", "last"] | None, int]:
        shape = self.array_shape
        if len(shape) not in (3, 4):
            raise self._error(f"has shape {shape}: expected (N, H, W), (N, H, W, C) or (N, C, H, W)")
        if math.prod(shape) == 0:
            raise self._error(f"is empty: its shape is {shape}")
        if len(shape) == 3:
            return None, 1
        layout = self.settings.channels
        if layout == "auto":
            first, last = shape[1] <= 3, shape[3] <= 3
            if first == last:
                raise self._error(f"has shape {shape}, which leaves open where the channels are: set channels")
            layout = "first" if first else "last"
        channels = shape[1] if layout == "first" else shape[3]
        allowed = (1,) if self.dtype.kind == "c" else (1, 2, 3) if self.dtype.kind == "f" else PICTURE_CHANNELS
        if channels not in allowed:
            raise self._error(f"has {channels} channels: {self.dtype} images may have {' or '.join(map(str, allowed))}")
        return layout, channels

    def _check_numbers(self) -> None:
        if self.dtype.hasobject or self.dtype.kind not in "uifc":
            raise self._error(f"holds {self.dtype}, not numbers")
        if not self.is_complex and self.dtype != np.uint8 and self.settings.range is None:
            raise self._error(f"holds {self.dtype}: say what is black and what is white, for example range: [0, 1]")

    def _chosen(self) -> tuple[int, ...]:
        total, settings = self.array_shape[0], self.settings
        if settings.indices is None:
            chosen = tuple(range(settings.skip, total))
        else:
            chosen = settings.indices[settings.skip :]
            outside = [index for index in chosen if not 0 <= index < total]
            if outside:
                raise self._error(f"has {total} images, and indices asks for number {outside[0]}")
        chosen = chosen[: settings.limit]
        if not chosen:
            raise self._error(f"has {total} images, and none is left after skip, limit and indices")
        return chosen

    def _error(self, problem: str) -> DataError:
        return DataError(f"The array file {self.path.name} {problem}.")


@dataclass(frozen=True)
class _Stored:
    """Where the numbers of an ``.npy`` file begin, and whether the first axis runs fastest."""

    offset: int
    fortran_order: bool


def _identity(file: BinaryIO) -> tuple[int, int]:
    """Return size and time of the last change of an open file."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any], _Stored]:
    """Return what an ``.npy`` stream holds without reading its data, and without unpickling anything."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:  # version 3 exists for structured types with unusual names only
        raise ValueError("unsupported .npy version")
    return shape, dtype, _Stored(file.tell(), fortran)
