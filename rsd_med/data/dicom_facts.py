"""What the header of a DICOM file says about each of its frames, by one name whether the file is enhanced or not."""

import math
from functools import cache
from typing import Any

_GROUPS = {
    "PlanePosition": ["ImagePositionPatient"],
    "PlaneOrientation": ["ImageOrientationPatient"],
    "PixelMeasures": ["PixelSpacing", "SliceThickness", "SpacingBetweenSlices"],
    "PixelValueTransformation": ["RescaleSlope", "RescaleIntercept", "RescaleType"],
    "FrameVOILUT": ["WindowCenter", "WindowWidth"],
    "MRImageFrameType": ["FrameType", "ComplexImageComponent"],
    "MREcho": ["EffectiveEchoTime"],
    "MRDiffusion": ["DiffusionBValue", "DiffusionGradientDirectionSequence"],
    "FrameContent": ["StackID", "TemporalPositionIndex", "FrameAcquisitionNumber"],
    "CardiacSynchronization": ["NominalCardiacTriggerDelayTime"],
}
"""The functional groups of an enhanced file, and what is read of them."""
_ENHANCED = {
    "ImageType": "FrameType",
    "EchoTime": "EffectiveEchoTime",
    "TemporalPositionIdentifier": "TemporalPositionIndex",
    "AcquisitionNumber": "FrameAcquisitionNumber",
    "TriggerTime": "NominalCardiacTriggerDelayTime",
}
"""What an enhanced file calls differently."""


def frame_facts(header: Any, frames: int) -> list[dict[str, Any]]:
    """Return what a file says about each frame: an enhanced file in its functional groups, another for all alike."""
    per_frame: list[Any] = list(header.get("PerFrameFunctionalGroupsSequence") or ())
    shared: list[Any] = list(header.get("SharedFunctionalGroupsSequence") or ())
    common = {"InstanceNumber": header.get("InstanceNumber")}
    if not (per_frame or shared):
        plain = {element.keyword: element.value for element in header if element.VR != "SQ"}
        return [plain] * frames
    for group in shared[:1]:
        common |= _group_facts(group)
    own = [_group_facts(group) for group in per_frame[:frames]]
    return [common | facts for facts in [*own, *[{}] * (frames - len(own))]]


def _group_facts(group: Any) -> dict[str, Any]:
    """Return the attributes of the functional groups of one frame, or of those shared by all, by their usual names."""
    facts: dict[str, Any] = {}
    for sequence, names in _group_tags():
        items = group[sequence].value if sequence in group else ()
        for item in items[:1]:
            facts |= {name: item[tag].value for name, tag in names if tag in item}
    direction = facts.pop("DiffusionGradientDirectionSequence", None)
    if direction:
        facts["DiffusionGradientOrientation"] = direction[0].get("DiffusionGradientOrientation")
    for name, enhanced in _ENHANCED.items():
        if enhanced in facts:
            facts[name] = facts.pop(enhanced)
    return facts


@cache
def _group_tags() -> list[tuple[int, list[tuple[str, int]]]]:
    """Return the tags of `_GROUPS`; looking names up for every frame takes longer than reading them."""
    from pydicom.datadict import tag_for_keyword

    return [
        (tag_for_keyword(f"{group}Sequence") or 0, [(name, tag_for_keyword(name) or 0) for name in names])
        for group, names in _GROUPS.items()
    ]


def window_of(facts: dict[str, Any], sign: float) -> tuple[float, float] | None:
    """Return the (black, white) of the first window of a frame, by DICOM PS3.3 C.11.2.1.2; None without one.

    Parameters
    ----------
    facts
        Of the frame.
    sign
        -1 where values have been turned round because low is white.
    """
    centre, width = (_first_number(facts.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width <= 1:
        return None
    ends = sign * (centre - 0.5 - (width - 1) / 2), sign * (centre - 0.5 + (width - 1) / 2)
    return min(ends), max(ends)


def unit_of(facts: dict[str, Any], modality: str) -> str:
    """Return the unit of a frame's values: HU of CT, or what the file calls it, if it is a plain short word."""
    unit = str(facts.get("RescaleType") or ("HU" if modality == "CT" else ""))
    return unit if unit.isascii() and unit.isalnum() and len(unit) <= 8 and unit != "US" else ""


def _first_number(value: Any) -> float | None:
    several = value is not None and not isinstance(value, str | bytes) and hasattr(value, "__len__")
    return number_of(value[0] if several and len(value) else value)


def words(value: Any) -> tuple[str, ...]:
    """Return the words of an attribute that has one or several."""
    return tuple(map(str, (value,) if isinstance(value, str) else value or ()))


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Return so many finite numbers, or None."""
    if value is None or isinstance(value, str | bytes) or not hasattr(value, "__len__") or len(value) != count:
        return None
    found = [number_of(one) for one in value]
    return None if any(one is None for one in found) else tuple(one for one in found if one is not None)


def number_of(value: Any) -> float | None:
    """Return a finite number of a sensible size, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and abs(number) < 1e12 else None
