"""Where the pixels of a DICOM file lie: found once, so that reading one frame does not parse the file again.

All decoding is pydicom's. Names, dates and identifiers are never read. A file's name may be the patient's, so files are
called by their number in the order of their names, here and in every message; the messages of pydicom, which may quote
what they stumble upon, go no further.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rsd_med.base.errors import DataError, ProtocolError

PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Transfer syntaxes without packing: implicit, explicit, explicit and big-endian."""
RLE = "1.2.840.10008.1.2.5"
"""The transfer syntax of run-length encoding, the only packing that is read."""
KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
"""The elements that hold pixels."""


class FileError(DataError):
    """A DICOM file that cannot be used.

    Attributes
    ----------
    number
        The file's.
    problem
        What is wrong, beginning with a verb.
    foreign
        Whether the file is whole, and of a sort that is not read; else it is damaged or contradicts itself.
    series
        What says which series it belongs to, for comparison only and not to be kept or shown; empty where unknown.
    """

    def __init__(self, number: int, problem: str, *, foreign: bool = False, series: str = "") -> None:
        super().__init__(f"DICOM file {number} (in the order of their names) {problem}.")
        self.number, self.problem, self.foreign, self.series = number, problem, foreign, series


@dataclass(frozen=True)
class StoredPixels:
    """Where and how the pixels of a file are stored.

    Attributes
    ----------
    path, number
        The file, and what to call it.
    identity
        Its size and time of change when it was indexed.
    syntax
        The transfer syntax.
    offset
        Where the pixels begin in the file, in bytes.
    options
        What pydicom's decoder has to know.
    """

    path: Path
    number: int
    identity: tuple[int, int]
    syntax: str
    offset: int
    options: dict[str, Any]

    def read(self, index: int) -> np.ndarray:
        """Read the stored values of a frame, (y, x), and nothing else of the file.

        Raises
        ------
        DataError
            If the pixels are damaged, or the file has changed or gone since it was indexed.
        """
        with quietly(self.number, "has damaged pixels, or too few: copy it again or remove it"):
            from pydicom.pixels import get_decoder

            if identity(self.path) != self.identity:
                raise FileError(self.number, "has changed or gone since it was indexed: start again")
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset)
                pixels, _ = get_decoder(self.syntax).as_array(file, index=index, raw=True, **self.options)
            return np.asarray(pixels)
        raise AssertionError("unreachable")


def identity(path: Path) -> tuple[int, int] | None:
    """Return the size of a file and the time of its last change; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def decoder_options(header: Any, frames: int, tag: int, vr: str | None) -> dict[str, Any]:
    """Return what pydicom's decoder has to know about the pixels of a file, as plain values.

    Parameters
    ----------
    header
        The file's, as pydicom read it.
    frames
        How many there are.
    tag, vr
        The element that holds the pixels, and its value representation where the file says it.
    """
    from pydicom.pixels.utils import as_pixel_options

    options = as_pixel_options(header, number_of_frames=frames, pixel_keyword=KEYWORDS[tag])
    if vr is not None:
        options["pixel_vr"] = vr
    return {key: _plain(value) for key, value in options.items()}


def _plain(value: Any) -> Any:
    """Return a value without pydicom's types, which also hold how the file wrote it."""
    return next((kind(value) for kind in (int, str) if isinstance(value, kind)), value)


def frame_places(file: BinaryIO, frames: int) -> tuple[list[int], list[int]] | None:
    """Return where the packed frames of a file begin and how long they are, as an extended offset table says it.

    Without it pydicom would walk through all frames to find one. None where the file has a table of its own, or more
    pieces than frames.

    Parameters
    ----------
    file
        At the first byte of the packed pixels.
    frames
        How many the file says it has.
    """
    from pydicom.encaps import parse_basic_offsets, parse_fragments

    if parse_basic_offsets(file):
        return None
    begin = file.tell()
    count, offsets = parse_fragments(file)
    if count != frames:
        return None
    file.seek(offsets[-1] + 4)
    last = int.from_bytes(file.read(4), "little")
    lengths = [following - offset - 8 for offset, following in pairwise(offsets)]
    return [offset - begin for offset in offsets], [*lengths, last]


@contextmanager
def quietly(number: int, problem: str, *, foreign: bool = False) -> Iterator[None]:
    """Turn whatever pydicom makes of a malformed file into one sentence, and drop what it says about it."""
    try:
        from pydicom import config
    except ImportError as error:
        raise ProtocolError("To read DICOM, install pydicom: pip install 'rsd_med[dicom]'.") from error
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except Exception:  # its parser raises a dozen sorts, with the values that it read in their texts
        raise FileError(number, problem, foreign=foreign) from None
