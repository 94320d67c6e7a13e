"""Compressed images to pixels: only known formats, nothing far too large, one sentence about what is wrong."""

from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.notices import FirstOf

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
UNREAD_SUFFIXES = frozenset({".gif", ".bmp", ".jp2", ".avif", ".heic", ".ppm", ".pgm", ".jxl"})
"""Pictures that are left out, which is said."""
_TIFF_STARTS = (b"II*\0", b"MM\0*")
MAX_PIXELS = 80_000_000
"""Largest image that is decoded: a small file can declare billions of pixels."""

Mode = Literal["rgb", "gray"]

NOTICES = FirstOf()

_ORIENTATION = 0x0112
_ON_THEIR_SIDE = {5, 6, 7, 8}
"""EXIF's orientations whose rows are columns."""
_TWELVE_BITS = 1 << 12


def is_tiff(start: bytes) -> bool:
    """Whether a file that begins so is TIFF, which may have several pages."""
    return start.startswith(_TIFF_STARTS)


def is_picture(start: bytes) -> bool:
    """Whether a file that begins so, with 12 bytes or more, is a picture of a format that is read."""
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return webp or is_tiff(start) or start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))


def image_size(file: Path | IO[bytes], name: str, page: int = 0) -> tuple[int, int]:
    """Return (height, width) of an image, as one looks at it, from its header.

    Raises
    ------
    DataError
        If it is none; the sentence calls it ``name``.
    """
    with _opened(file, name, page) as image:
        # Of TIFF files Pillow states the size of the turned image itself.
        turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _ON_THEIR_SIDE
        return (image.width, image.height) if turned else (image.height, image.width)


def count_pages(file: Path | IO[bytes], name: str) -> int:
    """Return how many pages a file holds, 1 but for some TIFF files; raises as `image_size`."""
    with _opened(file, name) as image:
        return _pages(image, name)


def decode_image(file: Path | IO[bytes], name: str, mode: Mode, page: int | None = None) -> np.ndarray:
    """Decode an image to uint8 or uint16, (H, W, C), turned as its EXIF entry says.

    What cannot be kept is said once: further pages, the lower half of 16 bits a colour, transparency.

    Parameters
    ----------
    file
        Where it lies, or its open contents.
    name
        What to call it in errors.
    mode
        Three channels, or one.
    page
        Which page; None is the first, and says so if there are others.

    Raises
    ------
    DataError
        If it is no image of a known format, damaged, too large, or of floating-point numbers.
    """
    from PIL import ImageOps

    with _opened(file, name, page or 0) as image:
        try:
            if page is None and (pages := _pages(image, name)) > 1:
                NOTICES.say("pages", f"The image file {name} holds {pages} pages or frames, and the first is read")
            if _has_deep_colours(image):
                NOTICES.say(
                    "deep", f"The image file {name} has 16 bits a colour, of which 8 are read: use arrays to keep them"
                )
            deep = image.mode.startswith("I")
            if image.mode == "F":
                raise image_error(name, "holds floating-point numbers without a known black and white: use arrays")
            upright = ImageOps.exif_transpose(image)
            if deep:
                values = np.asarray(upright)
                if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
                    raise image_error(name, "has more than 16 bits a pixel: use arrays")
                pixels = values.astype(np.uint16)[..., None]
                return np.repeat(pixels, 3, axis=-1) if mode == "rgb" else pixels
            if "A" in upright.getbands() and upright.getchannel("A").getextrema() != (255, 255):
                NOTICES.say("transparent", f"The image file {name} is transparent in places, which is not read")
            pixels = np.asarray(upright.convert("RGB" if mode == "rgb" else "L"))
        except (OSError, ValueError, SyntaxError, EOFError) as problem:
            raise image_error(name, "is damaged or cut short: copy it again") from problem
    return pixels if pixels.ndim == 3 else pixels[..., None]


def to_unit_range(pixels: np.ndarray, name: str, white: int | None = None) -> Tensor:
    """Map uint8 or uint16 pixels (H, W, C) to [-1, 1], float32 (C, H, W).

    Parameters
    ----------
    pixels
        From `decode_image`.
    name
        What to call the image.
    white
        The value that becomes 1, larger ones too; None is the largest of the type. Then an image of 16 bits in which
        the upper four are never used is said to be nearly black.
    """
    if white is None and pixels.dtype == np.uint16 and (largest := int(pixels.max(initial=0))) < _TWELVE_BITS:
        NOTICES.say(
            "dark",
            f"The image file {name} has 16 bits and no value above {largest}, so that it comes out nearly black: if "
            f"white is {_TWELVE_BITS - 1} (12 bits), set data.white to it",
        )
    scaled = torch.from_numpy(np.moveaxis(pixels, -1, 0).astype(np.float32)) * (
        2 / (white or np.iinfo(pixels.dtype).max)
    )
    return scaled.clamp_max(2) - 1


def image_error(name: str, problem: str) -> DataError:
    """Return an error about an image file."""
    return DataError(f"The image file {name} {problem}.")


def _opened(file: Path | IO[bytes], name: str, page: int = 0) -> "Image":
    """Open an image, decode nothing, and refuse what is no image or far too large."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(file, formats=FORMATS)
        if page:
            image.seek(page)
    except FileNotFoundError as problem:
        raise image_error(name, "was there a moment ago and is gone") from problem
    except PermissionError as problem:
        raise image_error(name, "may not be read: give yourself permission to read it") from problem
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise image_error(name, "declares far too many pixels") from problem
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as problem:
        raise image_error(name, "is no image, or a damaged one: remove it or copy it again") from problem
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise image_error(name, f"declares {image.height} x {image.width} pixels, more than are read")
    return image


def _pages(image: "Image", name: str) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, TypeError) as problem:
        raise image_error(name, "is damaged or cut short: copy it again") from problem


def _has_deep_colours(image: "Image") -> bool:
    """Whether the file has 16 bits a channel, which Pillow reduces to 8 in images of several channels."""
    return len(image.getbands()) > 1 and any(";16" in str(tile) for tile in getattr(image, "tile", ()))
