"""Single DICOM files of unknown origin: the few attributes that make an image, and where its pixels lie.

Of private attributes only numbers are read that unpack a mosaic. See ``dicom_pixels.py`` for what is said in messages.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rsd_med.base.errors import DataError
from rsd_med.base.limits import MAX_SIDE
from rsd_med.data.dicom_facts import frame_facts, number_of, numbers, unit_of, window_of, words
from rsd_med.data.dicom_mosaic import MOSAIC_TAGS, Tile, tiles
from rsd_med.data.dicom_pixels import (
    KEYWORDS,
    PLAIN,
    RLE,
    FileError,
    StoredPixels,
    decoder_options,
    frame_places,
    identity,
    quietly,
)
from rsd_med.data.recognition import is_dicom

MAX_FRAMES = 1 << 16
"""Most images of one file: functional MRI comes to tens of thousands."""

_DAMAGED = "is damaged or cut short: copy it again or remove it"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_TAGS: list[str | int] = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber", "ImageType"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("WindowCenter", "WindowWidth", "RescaleType", "Modality"),
    *("EchoNumbers", "EchoTime", "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime"),
    *("DiffusionBValue", "DiffusionGradientOrientation", "StackID"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *MOSAIC_TAGS,
]


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a file.

    Attributes
    ----------
    pixels, index
        Where it is stored, and its number there.
    tile
        Row and column where it begins in a mosaic; None where it is no part of one.
    shape
        (y, x).
    position, orientation
        ImagePositionPatient (3) and ImageOrientationPatient (6), LPS+; None where they are missing or no numbers.
    spacing
        Millimetres from row to row and from column to column; None where unknown.
    thickness
        Millimetres from slice to slice, as declared; None where unknown.
    slope, intercept
        From stored to real values; the slope of MONOCHROME1, where low is white, has its sign changed.
    instance
        InstanceNumber.
    image_type
        The words of ImageType, of FrameType and the complex component in an enhanced file, and the echo's number.
    echo_time
        Milliseconds; None, here and below, where the file does not say.
    stack
        What the frames of one volume have in common by the file's own words: a stack's name, or the mosaic.
    b_value, gradient
        Of diffusion weighting, s/mm², and its direction (3).
    time
        The number of the temporal position.
    acquisition
        The number of the acquisition.
    trigger
        Milliseconds from the heart's trigger.
    window
        (black, white) in real values that the file asks to be shown under; None where it does not.
    unit
        Of the real values; empty where the file does not say.
    """

    pixels: StoredPixels
    index: int
    tile: tuple[int, int] | None
    shape: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    slope: float
    intercept: float
    instance: int
    image_type: tuple[str, ...]
    echo_time: float | None
    stack: str
    b_value: float | None
    gradient: tuple[float, ...] | None
    time: float | None
    acquisition: float | None
    trigger: float | None
    window: tuple[float, float] | None = None
    unit: str = ""

    @property
    def order(self) -> tuple[int, int, int]:
        """What frames are ordered by where places say nothing."""
        return self.instance, self.pixels.number, self.index

    def values(self, stored: np.ndarray) -> np.ndarray:
        """Return the frame's real values, float32 (y, x), from the stored image that holds it."""
        top, left = self.tile or (0, 0)
        part = stored[top : top + self.shape[0], left : left + self.shape[1]]
        if part.shape != self.shape:
            raise FileError(self.pixels.number, "holds pixels of another size than its header says: copy it again")
        if (self.slope, self.intercept) != (1.0, 0.0):
            part = part * np.float64(self.slope) + self.intercept
        return part.astype(np.float32)


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes
    ----------
    series, instance
        What says which series it belongs to, and which object it is: for comparison only, not to be kept or shown.
    frames
        Its images; none if it holds none.
    """

    series: str = ""
    instance: str = ""
    frames: Sequence[Frame] = ()


def may_be_dicom(path: Path) -> bool:
    """Whether a file may be DICOM, by how it begins; DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        raise DataError("A file of the data cannot be read: give yourself permission to read it.") from None


def read_frames(path: Path, number: int) -> Contents:
    """Read what a file says about its images, and none of its pixels; a file is parsed here and never again.

    Parameters
    ----------
    path
        The file.
    number
        What to call it.

    Raises
    ------
    DataError
        If the file is damaged, contradicts itself, or is packed or coloured in a way that is not read.
    ProtocolError
        If pydicom is not installed.
    """
    with quietly(number, _DAMAGED), path.open("rb") as file:
        sure = file.read(132)[128:] == b"DICM"
        file.seek(0)
        with quietly(number, _DAMAGED if sure else "begins like DICOM and is none, or damaged", foreign=not sure):
            _refuse_deflated(file, number)
            header, place = _parsed(file)
        instance, series = str(header.get("SOPInstanceUID", "")), str(header.get("SeriesInstanceUID", ""))
        if "Rows" not in header or "Columns" not in header:
            raise _without_image(header, number, series, sure)
        return Contents(series, instance, _frames(header, file, place, path, number, series))
    raise AssertionError("unreachable")


def _without_image(header: Any, number: int, series: str, sure: bool) -> FileError:
    """Return what to say of a file without rows and columns: a report, a plan …, or an image cut in its header."""
    from pydicom.uid import UID

    sort = str(header.get("SOPClassUID", "") or header.file_meta.get("MediaStorageSOPClassUID", ""))
    if not sort and not sure:
        return FileError(number, "begins like DICOM and is none, or damaged", foreign=True)
    if not sort or "Image Storage" in UID(sort).name:
        return FileError(number, _DAMAGED, series=series)
    return FileError(number, "holds no image", foreign=True, series=series)


def _refuse_deflated(file: BinaryIO, number: int) -> None:
    """Look at the meta information apart: pydicom unpacks a deflated file whole, however large that may be."""
    from pydicom.filereader import _read_file_meta_info, read_preamble

    read_preamble(file, force=True)
    if _read_file_meta_info(file).get("TransferSyntaxUID", "") == _DEFLATED:
        problem = "is deflated, which is not read: convert it to an uncompressed transfer syntax"
        raise FileError(number, problem, foreign=True)
    file.seek(0)


def _parsed(file: BinaryIO) -> tuple[Any, tuple[int, int, str | None] | None]:
    """Return the header, and where the pixels begin with the element that holds them; None without pixels."""
    from pydicom.filereader import read_partial
    from pydicom.tag import Tag

    place = None

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        nonlocal place
        if tag in KEYWORDS and length > 0:
            place = file.tell(), int(tag), vr
        return tag in KEYWORDS

    header = read_partial(file, at_pixels, force=True, specific_tags=[Tag(tag) for tag in _TAGS])
    return header, place


def _frames(
    header: Any, file: BinaryIO, place: tuple[int, int, str | None] | None, path: Path, number: int, series: str
) -> list[Frame]:
    def refusal(problem: str, foreign: bool = True) -> FileError:
        return FileError(number, problem, foreign=foreign, series=series)

    shape, frames = (int(header.Rows), int(header.Columns)), int(header.get("NumberOfFrames") or 1)
    bits, samples = int(header.get("BitsAllocated", 0)), int(header.get("SamplesPerPixel", 1))
    photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    implicit, little = header.original_encoding
    syntax = str(header.file_meta.get("TransferSyntaxUID", "") or PLAIN[0 if implicit else 1 if little else 2])
    if syntax not in {*PLAIN, RLE}:
        raise refusal("is compressed: convert it to an uncompressed transfer syntax, e.g. with gdcmconv")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise refusal("is in colour, which is not read: export it as grey images")
    if bits not in (8, 16, 32):
        raise refusal(f"has {bits} bits a pixel; 8, 16 and 32 are read: convert it")
    if not (min(shape) > 0 and max(shape) <= MAX_SIDE and 0 < frames <= MAX_FRAMES):
        problem = f"declares {frames} images of {shape[0]} × {shape[1]} pixels"
        limits = f"at least one and at most {MAX_FRAMES} of at most {MAX_SIDE} pixels a side are read"
        raise refusal(f"{problem}; {limits}", foreign=False)
    if place is None:
        raise refusal("has no pixels: copy it again or remove it")
    offset, tag, vr = place
    if syntax in PLAIN and math.prod(shape) * frames * bits // 8 > path.stat().st_size - offset:
        raise refusal("is shorter than its header says: copy it again", foreign=False)
    options = decoder_options(header, frames, tag, vr)
    if syntax == RLE and frames > 1 and "extended_offsets" not in options:
        file.seek(offset)
        if (places := frame_places(file, frames)) is not None:
            options["extended_offsets"] = places
    pixels = StoredPixels(path, number, identity(path) or (0, 0), syntax, offset, options)
    sign = -1.0 if photometric == "MONOCHROME1" else 1.0
    facts, modality = frame_facts(header, frames), str(header.get("Modality", ""))
    if "MOSAIC" not in words(facts[0].get("ImageType")):
        return [_frame(one, pixels, index, sign, Tile(shape), modality) for index, one in enumerate(facts)]
    try:
        return [_frame(facts[0], pixels, 0, sign, tile, modality) for tile in tiles(header, shape)]
    except ValueError as error:
        raise refusal(str(error)) from None


def _frame(facts: dict[str, Any], pixels: StoredPixels, index: int, sign: float, tile: Tile, modality: str) -> Frame:
    spacing = numbers(facts.get("PixelSpacing"), 2)
    spacing = None if spacing is None or min(spacing) <= 0 else spacing
    depth = number_of(facts.get("SpacingBetweenSlices")) or number_of(facts.get("SliceThickness"))
    thickness = abs(depth) if depth else None
    position = numbers(facts.get("ImagePositionPatient"), 3)
    orientation = numbers(facts.get("ImageOrientationPatient"), 6)
    instance = number_of(facts.get("InstanceNumber"))
    return Frame(
        pixels=pixels,
        index=index,
        tile=tile.corner,
        shape=tile.shape,
        position=tile.position(position, orientation, spacing, thickness),
        orientation=orientation,
        spacing=None if spacing is None else (spacing[0], spacing[1]),
        thickness=thickness,
        slope=sign * (number_of(facts.get("RescaleSlope")) or 1.0),
        intercept=sign * (number_of(facts.get("RescaleIntercept")) or 0.0),
        instance=0 if instance is None else int(instance),
        image_type=(
            *words(facts.get("ImageType")),
            *words(facts.get("ComplexImageComponent")),
            f"echo {facts.get('EchoNumbers', '')}",
        ),
        echo_time=number_of(facts.get("EchoTime")),
        stack=str(facts.get("StackID") or "") if tile.corner is None else f"mosaic {pixels.number}",
        b_value=number_of(facts.get("DiffusionBValue")),
        gradient=numbers(facts.get("DiffusionGradientOrientation"), 3),
        time=number_of(facts.get("TemporalPositionIdentifier")),
        acquisition=number_of(facts.get("AcquisitionNumber")),
        trigger=number_of(facts.get("TriggerTime")),
        window=window_of(facts, sign),
        unit=unit_of(facts, modality),
    )
