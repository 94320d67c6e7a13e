"""The few facts taken from an ISMRMRD header; everything else in it, the patient included, is never kept."""

import math
import re
from dataclasses import dataclass
from typing import TypeVar
from xml.etree import ElementTree

from rsd_med.base.errors import DataError

MAX_HEADER_BYTES = 1 << 20
"""Largest header that is parsed; real ones have a few kilobytes."""

_LARGEST = 65535

_Value = TypeVar("_Value")

_SEQUENCE_NAME = re.compile(r"[A-Za-z0-9_.\- ]{1,32}")


@dataclass(frozen=True)
class EncodingSpace:
    """Matrix size and field of view in ISMRMRD's order: x is the readout, y the phase encoding, z the slice.

    Attributes
    ----------
    matrix
        Samples along (x, y, z); None when the header does not say.
    fov_mm
        Millimetres along (x, y, z); None when the header does not say.
    """

    matrix: tuple[int, int, int] | None = None
    fov_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Header:
    """The allow-list: what may be known about an acquisition.

    Attributes
    ----------
    encoded, recon
        The space that was sampled and the space of the reconstructed image.
    phase_limits
        First, last and central phase encoding step.
    field_strength_t
        Field strength in tesla.
    sequence_type
        The sequence's type, for example ``"Flash"``.
    """

    encoded: EncodingSpace = EncodingSpace()
    recon: EncodingSpace = EncodingSpace()
    phase_limits: tuple[int, int, int] | None = None
    field_strength_t: float | None = None
    sequence_type: str | None = None


def parse_header(text: bytes, name: str) -> Header:
    """Read the allow-listed entries of an ISMRMRD header.

    Parameters
    ----------
    text
        The XML, UTF-8.
    name
        The file's basename, for messages.

    Returns
    -------
    Header
        What was found; absent or unusable entries are None.

    Raises
    ------
    DataError
        If the header is oversized, has a document type (which could define entities), or is no XML.
    """
    if len(text) > MAX_HEADER_BYTES:
        raise DataError(f"{name}: the ISMRMRD header has {len(text)} bytes, too many to be one; write the file again.")
    try:
        # Decoded first, so that the declared encoding cannot hide a document type from the next line.
        decoded = text.rstrip(b"\0").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: the ISMRMRD header is not UTF-8 text; write the file again.") from error
    if not decoded.strip():
        return Header()
    if "<!DOCTYPE" in decoded.upper() or "<!ENTITY" in decoded.upper():
        raise DataError(f"{name}: the ISMRMRD header contains a document type, which no scanner writes; remove it.")
    try:
        root = ElementTree.fromstring(decoded)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise DataError(f"{name}: the ISMRMRD header is not well-formed XML; write the file again.") from error
    encoding = _child(root, "encoding")
    return Header(
        encoded=_space(_child(encoding, "encodedSpace")),
        recon=_space(_child(encoding, "reconSpace")),
        phase_limits=_limits(_child(_child(encoding, "encodingLimits"), "kspace_encoding_step_1")),
        field_strength_t=_number(_child(_child(root, "acquisitionSystemInformation"), "systemFieldStrength_T")),
        sequence_type=_sequence(_child(_child(root, "sequenceParameters"), "sequence_type")),
    )


def _child(element: ElementTree.Element | None, name: str) -> ElementTree.Element | None:
    """Return the first child of this name, whatever its namespace."""
    if element is None:
        return None
    return next((child for child in element if str(child.tag).rpartition("}")[2] == name), None)


def _number(element: ElementTree.Element | None) -> float | None:
    """Return a positive number of ordinary size or None."""
    value = _any_number(element)
    return value if value is not None and 0 < value <= _LARGEST else None


def _whole(element: ElementTree.Element | None, smallest: int) -> int | None:
    """Return a whole number, as far as ISMRMRD's unsignedShort reaches, or None."""
    value = _any_number(element)
    return int(value) if value is not None and value.is_integer() and smallest <= value <= _LARGEST else None


def _any_number(element: ElementTree.Element | None) -> float | None:
    try:
        value = float((element.text or "") if element is not None else "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _space(element: ElementTree.Element | None) -> EncodingSpace:
    matrix = [_whole(_child(_child(element, "matrixSize"), axis), 1) for axis in "xyz"]
    fov = [_number(_child(_child(element, "fieldOfView_mm"), axis)) for axis in "xyz"]
    return EncodingSpace(matrix=_triple(matrix), fov_mm=_triple(fov))


def _limits(element: ElementTree.Element | None) -> tuple[int, int, int] | None:
    return _triple([_whole(_child(element, name), 0) for name in ("minimum", "maximum", "center")])


def _triple(values: list[_Value | None]) -> tuple[_Value, _Value, _Value] | None:
    """Return three values if all are known."""
    first, second, third = values
    return None if first is None or second is None or third is None else (first, second, third)


def _sequence(element: ElementTree.Element | None) -> str | None:
    text = ((element.text or "") if element is not None else "").strip()
    return text if _SEQUENCE_NAME.fullmatch(text) else None
