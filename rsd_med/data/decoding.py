"""Compressed images to pixels: only known formats, nothing far too large, one sentence about what is wrong."""

from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
MAX_PIXELS = 80_000_000
"""Largest image that is decoded: a small file can declare billions of pixels."""

Mode = Literal["rgb", "gray"]


def image_size(file: Path | IO[bytes], name: str) -> tuple[int, int]:
    """Return (height, width) of an image from its header; DataError, which calls it ``name``, where it is none."""
    with _opened(file, name) as image:
        return image.height, image.width


def decode_image(file: Path | IO[bytes], name: str, mode: Mode) -> np.ndarray:
    """Decode an image to uint8 or uint16, (H, W, C).

    Parameters
    ----------
    file
        Where it lies, or its open contents.
    name
        What to call it in errors.
    mode
        Three channels, or one.

    Raises
    ------
    DataError
        If it is no image of a known format, damaged, too large, or of floating-point numbers.
    """
    with _opened(file, name) as image:
        try:
            deep = image.mode.startswith("I")
            if image.mode == "F":
                raise image_error(name, "holds floating-point numbers without a known black and white: use arrays")
            if deep:
                values = np.asarray(image)
                if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
                    raise image_error(name, "has more than 16 bits a pixel: use arrays")
                pixels = values.astype(np.uint16)[..., None]
                return np.repeat(pixels, 3, axis=-1) if mode == "rgb" else pixels
            pixels = np.asarray(image.convert("RGB" if mode == "rgb" else "L"))
        except (OSError, ValueError, SyntaxError, EOFError) as problem:
            raise image_error(name, "is damaged or cut short: copy it again") from problem
    return pixels if pixels.ndim == 3 else pixels[..., None]


def to_unit_range(pixels: np.ndarray) -> Tensor:
    """Map the whole range of uint8 or uint16 pixels (H, W, C) to [-1, 1], float32 (C, H, W)."""
    white = np.iinfo(pixels.dtype).max
    return torch.from_numpy(np.moveaxis(pixels, -1, 0).astype(np.float32)) * (2 / white) - 1


def image_error(name: str, problem: str) -> DataError:
    """Return an error about an image file."""
    return DataError(f"The image file {name} {problem}.")


def _opened(file: Path | IO[bytes], name: str) -> "Image":
    """Open an image, decode nothing, and refuse what is no image or far too large."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(file, formats=FORMATS)
    except FileNotFoundError as problem:
        raise image_error(name, "was there a moment ago and is gone") from problem
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise image_error(name, "declares far too many pixels") from problem
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as problem:
        raise image_error(name, "is no image, or a damaged one: remove it or copy it again") from problem
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise image_error(name, f"declares {image.height} x {image.width} pixels, more than are read")
    return image
