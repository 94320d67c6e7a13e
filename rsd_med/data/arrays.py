"""Images stored as one NumPy array: ``.npy`` (read in place) or ``.npz``."""

import io
import math
import zipfile
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
from rsd_med.data.source import Source, SourceSettings

MAX_NPZ_BYTES = 8 * 2**30
"""Largest array read from an ``.npz``, which has to be held in memory; an ``.npy`` is read in place."""

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
        self.key, self.array_shape, self.dtype = self._header()
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
        values = np.asarray(self._array()[self.indices[index]])
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

    def _array(self) -> np.ndarray:
        if self._data is None:
            try:
                if self.key is None:
                    self._data = np.load(self.path, mmap_mode="r", allow_pickle=False)
                else:
                    with np.load(self.path, allow_pickle=False) as archive:
                        self._data = archive[self.key]
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
                raise self._error("is damaged or cut short: copy it again") from problem
        return self._data

    # --- what the header says ----------------------------------------------------------------------------------

    def _header(self) -> tuple[str | None, tuple[int, ...], np.dtype[Any]]:
        path = self.path
        if not path.is_file():
            raise self._error("does not exist: check data.root")
        try:
            if path.suffix == ".npy":
                with path.open("rb") as file:
                    shape, dtype = _npy_header(file)
                return None, shape, dtype
            if path.suffix == ".npz":
                with zipfile.ZipFile(path) as archive:
                    key = self._member([name.removesuffix(".npy") for name in archive.namelist()])
                    declared = archive.getinfo(f"{key}.npy").file_size
                    with archive.open(f"{key}.npy") as member:
                        shape, dtype = _npy_header(io.BytesIO(member.read(2**16)))
                if max(declared, math.prod(shape) * dtype.itemsize) > MAX_NPZ_BYTES:
                    raise self._error("is larger than what can be held in memory: store it as .npy")
                return key, shape, dtype
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


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of an ``.npy`` stream without reading its data, and without unpickling anything."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:  # version 3 exists for structured types with unusual names only
        raise ValueError("unsupported .npy version")
    return shape, dtype
