"""Single DICOM files of unknown origin: the few attributes that make an image, and its pixels.

Names, dates and identifiers are never read. A file's name may be the patient's, so files are called by their number in
the order of their names, here and in every message; the messages of pydicom, which may quote what they stumble upon,
go no further.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.limits import MAX_SIDE

MAX_FRAMES = 1 << 14

_TAGS = [
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("InstanceNumber", "SeriesInstanceUID", "ImageType", "EchoNumbers"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
_PLAIN = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
_RLE = "1.2.840.10008.1.2.5"
_DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class Frame:
    """One image of a file.

    Attributes
    ----------
    path, file
        The file, and its number.
    index
        The frame's number in the file.
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
    """

    path: Path
    file: int
    index: int
    shape: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    slope: float
    intercept: float
    instance: int


def file_error(number: int, problem: str) -> DataError:
    """Return the error of a file, in one sentence that does not name it; ``problem`` begins with a verb."""
    return DataError(f"DICOM file {number} (in the order of their names) {problem}.")


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_frames(path: Path, number: int) -> tuple[tuple[object, ...], list[Frame]]:
    """Read what a file says about its images, and none of its pixels.

    Parameters
    ----------
    path
        The file.
    number
        What to call it.

    Returns
    -------
    tuple
        What files of one series have in common, for comparison only and not to be kept or shown; and the frames, none
        if the file holds no image.

    Raises
    ------
    DataError
        If the file is damaged, contradicts itself, or is packed or coloured in a way that is not read.
    ProtocolError
        If pydicom is not installed.
    """
    with _quietly(number, "is damaged or cut short: copy it again or remove it"):
        from pydicom import dcmread
        from pydicom.filereader import read_file_meta_info

        # Looked at apart: a deflated file is unpacked whole as soon as pydicom opens it, however large that may be.
        syntax = str(read_file_meta_info(path).get("TransferSyntaxUID", ""))
        if syntax == _DEFLATED:
            raise file_error(number, "is deflated, which is not read: convert it to an uncompressed transfer syntax")
        header = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        if "Rows" not in header or "Columns" not in header:
            return (), []
        shape = (int(header.Rows), int(header.Columns))
        frames = int(header.get("NumberOfFrames") or 1)
        bits, samples = int(header.get("BitsAllocated", 0)), int(header.get("SamplesPerPixel", 1))
        photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
        if syntax not in {*_PLAIN, _RLE}:
            raise file_error(number, "is compressed: convert it to an uncompressed transfer syntax, e.g. with gdcmconv")
        if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
            raise file_error(number, "is in colour, which is not read: export it as grey images")
        if not (min(shape) > 0 and max(shape) <= MAX_SIDE and 0 < frames <= MAX_FRAMES and bits in (8, 16, 32)):
            raise file_error(
                number, f"declares {frames} images of {shape[0]} × {shape[1]} pixels of {bits} bits, which are not read"
            )
        if syntax in _PLAIN and math.prod(shape) * frames * bits // 8 > path.stat().st_size:
            raise file_error(number, "is shorter than its header says: copy it again")
        orientation = _numbers(_item(header, 0).get("ImageOrientationPatient"), 6)
        common = (
            str(header.get("SeriesInstanceUID", "")),
            shape,
            None if orientation is None else tuple(round(value, 3) for value in orientation),
            tuple(str(word) for word in header.get("ImageType") or ()),
            str(header.get("EchoNumbers", "")),
        )
        sign = -1.0 if photometric == "MONOCHROME1" else 1.0
        return common, [_frame(header, path, number, index, shape, sign) for index in range(frames)]
    raise AssertionError("unreachable")


def read_pixels(frame: Frame) -> np.ndarray:
    """Read the real values of a frame, float32 (y, x).

    Raises
    ------
    DataError
        If the pixels are damaged or missing.
    """
    with _quietly(frame.file, "has no pixels, or damaged ones: copy it again or remove it"):
        from pydicom.pixels import pixel_array

        stored = np.asarray(pixel_array(frame.path, index=frame.index, raw=True))
        if stored.shape != frame.shape:
            raise file_error(frame.file, "has changed since it was indexed: start again")
        return (stored * np.float64(frame.slope) + frame.intercept).astype(np.float32)
    raise AssertionError("unreachable")


@contextmanager
def _quietly(number: int, problem: str) -> Iterator[None]:
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
        raise file_error(number, problem) from None


def _item(header: Any, index: int) -> Any:
    """Return the attributes of a frame: of an enhanced file its functional groups, else the file's own."""
    from pydicom.dataset import Dataset

    groups = []
    frames = header.get("PerFrameFunctionalGroupsSequence") or ()
    if index < len(frames):
        groups.append(frames[index])
    groups += list(header.get("SharedFunctionalGroupsSequence") or ())[:1]
    merged = Dataset()
    for name in ("PlanePosition", "PlaneOrientation", "PixelMeasures", "PixelValueTransformation"):
        found = next((group[f"{name}Sequence"][0] for group in groups if group.get(f"{name}Sequence")), None)
        for element in found or ():
            merged[element.tag] = element
    if not groups:
        return header
    return merged


def _frame(header: Any, path: Path, number: int, index: int, shape: tuple[int, int], sign: float) -> Frame:
    item = _item(header, index)
    spacing = _numbers(item.get("PixelSpacing"), 2)
    slope, intercept = _number(item.get("RescaleSlope")), _number(item.get("RescaleIntercept"))
    depth = _number(item.get("SpacingBetweenSlices")) or _number(item.get("SliceThickness"))
    instance = _number(header.get("InstanceNumber"))
    return Frame(
        path=path,
        file=number,
        index=index,
        shape=shape,
        position=_numbers(item.get("ImagePositionPatient"), 3),
        orientation=_numbers(item.get("ImageOrientationPatient"), 6),
        spacing=None if spacing is None or min(spacing) <= 0 else (spacing[0], spacing[1]),
        thickness=abs(depth) if depth else None,
        slope=sign * (slope or 1.0),
        intercept=sign * (intercept or 0.0),
        instance=0 if instance is None else int(instance),
    )


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Return so many finite numbers, or None."""
    if value is None or isinstance(value, str | bytes) or not hasattr(value, "__len__") or len(value) != count:
        return None
    numbers = [_number(one) for one in value]
    return None if any(one is None for one in numbers) else tuple(one for one in numbers if one is not None)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and abs(number) < 1e12 else None
