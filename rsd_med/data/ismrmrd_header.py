"""The few facts taken from an ISMRMRD header; everything else in it, the patient included, is never kept."""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from xml.etree import ElementTree

from rsd_med.base.errors import DataError
from rsd_med.base.notices import say_once

if TYPE_CHECKING:
    import h5py

MAX_HEADER_BYTES = 1 << 20
"""Largest header that is parsed; real ones have a few kilobytes."""

_LARGEST = 65535
_SMALLEST_FIELD = 1.0
"""Millimetres of a field of view, in both directions, below which no scanner images: some converters write metres."""

_Value = TypeVar("_Value")

_TRAJECTORIES = {"cartesian", "epi", "radial", "goldenangle", "spiral", "other"}
_CALIBRATIONS = {"embedded", "interleaved", "separate", "external", "other"}

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
    trajectory
        One of ISMRMRD's words, for example ``"cartesian"``; ``"other"`` for any that is not ISMRMRD's; None when the
        header does not say.
    calibration_mode
        How parallel imaging was calibrated, for example ``"embedded"``; None when the header does not say.
    noise_bandwidth
        The receiver's relative noise bandwidth, about 0.79 at Siemens; None when the header does not say.
    """

    encoded: EncodingSpace = EncodingSpace()
    recon: EncodingSpace = EncodingSpace()
    phase_limits: tuple[int, int, int] | None = None
    field_strength_t: float | None = None
    sequence_type: str | None = None
    trajectory: str | None = None
    calibration_mode: str | None = None
    noise_bandwidth: float | None = None


def stored_header(group: "h5py.Group", member: str, name: str) -> Header:
    """Read a header that is stored as one string.

    Parameters
    ----------
    group
        An HDF5 file or group.
    member
        What the header is called in it.
    name
        The file's basename, for messages.

    Returns
    -------
    Header
        An empty one if there is none of this name.

    Raises
    ------
    DataError
        If it lies elsewhere (link, external, virtual), is no single string, is damaged, or for what
        :func:`parse_header` refuses.
    """
    import h5py

    try:
        link = group.get(member, getlink=True)
        if link is None:
            return Header()
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{name}: '{member}' is a link to somewhere else; store the header in the file itself.")
        dataset = group[member]
        is_text = isinstance(dataset, h5py.Dataset) and h5py.check_string_dtype(dataset.dtype) is not None
        if not is_text or dataset.size != 1 or dataset.external or dataset.is_virtual:
            raise DataError(f"{name}: '{member}' must be one string of XML; write the file again.")
        if dataset.dtype.itemsize > MAX_HEADER_BYTES:
            raise DataError(f"{name}: the ISMRMRD header is too long to be one; write the file again.")
        text = dataset[()] if dataset.shape == () else dataset[(0,) * dataset.ndim]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise DataError(f"{name}: the ISMRMRD header cannot be read, the file is damaged; copy it again.") from error
    return parse_header(text if isinstance(text, bytes) else str(text).encode(), name)


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
    system = _child(root, "acquisitionSystemInformation")
    return Header(
        encoded=_space(_child(encoding, "encodedSpace"), name),
        recon=_space(_child(encoding, "reconSpace"), name),
        phase_limits=_limits(_child(_child(encoding, "encodingLimits"), "kspace_encoding_step_1")),
        field_strength_t=_number(_child(system, "systemFieldStrength_T")),
        sequence_type=_sequence(_child(_child(root, "sequenceParameters"), "sequence_type")),
        trajectory=_word(_child(encoding, "trajectory"), _TRAJECTORIES),
        calibration_mode=_word(_child(_child(encoding, "parallelImaging"), "calibrationMode"), _CALIBRATIONS),
        noise_bandwidth=_number(_child(system, "relativeReceiverNoiseBandwidth")),
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


def _space(element: ElementTree.Element | None, name: str) -> EncodingSpace:
    matrix = [_whole(_child(_child(element, "matrixSize"), axis), 1) for axis in "xyz"]
    fov = _triple([_number(_child(_child(element, "fieldOfView_mm"), axis)) for axis in "xyz"])
    if fov is not None and max(fov[:2]) < _SMALLEST_FIELD:
        say_once(f"{name}: a field of view of {fov[0]:g} × {fov[1]:g} mm can only be meant in metres; it is read so.")
        fov = (1000 * fov[0], 1000 * fov[1], 1000 * fov[2])
    return EncodingSpace(matrix=_triple(matrix), fov_mm=fov)


def _limits(element: ElementTree.Element | None) -> tuple[int, int, int] | None:
    return _triple([_whole(_child(element, name), 0) for name in ("minimum", "maximum", "center")])


def _triple(values: list[_Value | None]) -> tuple[_Value, _Value, _Value] | None:
    """Return three values if all are known."""
    first, second, third = values
    return None if first is None or second is None or third is None else (first, second, third)


def _sequence(element: ElementTree.Element | None) -> str | None:
    text = ((element.text or "") if element is not None else "").strip()
    return text if _SEQUENCE_NAME.fullmatch(text) else None


def _word(element: ElementTree.Element | None, known: set[str]) -> str | None:
    """Return one of the schema's own words, "other" for a foreign one: free text is never passed on."""
    if element is None:
        return None
    text = (element.text or "").strip().lower()
    return text if text in known else "other"
