"""How good a model is by itself: each figure beside that of real images, a grade, and plain words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rsd_med.reporting.numbers import percent, significant, times
from rsd_med.reporting.record import RunRecord, finite, mapping
from rsd_med.reporting.spectrum import GRAIN, SpectrumOf, spectrum_of

Grade = Literal["good", "fair", "poor", "unknown"]

_DISTANCE = (2.0, 4.0)
"""Multiples of the floor up to which a distance is good, and fair."""

_SHARE = (0.7, 0.4)
"""Parts of the floor's share down to which a share is good, and fair: neighbouring slices keep the floor's low too."""

_AIR = (0.01, 0.03)
"""Shares of the peak by which air may be brighter than real air; 0.01 is 2.5 of 255 grey levels."""

_FINE = 0.3
"""In units of Nyquist: structure of fewer than seven pixels is fine."""

_WORDS: Mapping[str, Mapping[Grade, str]] = {
    "fd": {
        "good": "nearly as close to the reference as real images",
        "fair": "not far from real images",
        "poor": "far from real images",
        "unknown": "smaller is better; there is no floor to hold it against",
    },
    "coverage": {
        "good": "nearly all the variety that real images show",
        "fair": "a part of the variety is missing",
        "poor": "most of the variety is missing",
        "unknown": "the share of real images that have a sample nearby",
    },
    "precision": {
        "good": "samples look as real as real images by this measure",
        "fair": "many samples lie outside of what is real",
        "poor": "most samples lie outside of what is real",
        "unknown": "the share of samples that lie among real images",
    },
}


@dataclass(frozen=True)
class Judgement:
    """One figure of a model, and what to think of it.

    Attributes
    ----------
    key, title
        Its name in the record, and for people.
    value, beside
        The figure as it is written, and that of real images.
    words
        What it means here.
    grade
        ``unknown`` where there is nothing to hold it against.
    """

    key: str
    title: str
    value: str
    beside: str
    words: str
    grade: Grade


def judge(record: RunRecord, name: str) -> list[Judgement]:
    """Judge each figure of the model called ``name`` that was measured against clean images."""
    figures = record.models().get(name, {})
    judgements = [
        _distance(figures, record.floor),
        _share(figures, record.floor, "coverage", "Coverage"),
        _share(figures, record.floor, "precision", "Precision"),
        _grain(record, name),
        _air(record, figures),
    ]
    return [judgement for judgement in judgements if judgement is not None]


def worst(judgements: list[Judgement], *keys: str) -> Grade:
    """Return the worst grade of those figures that could be graded."""
    grades = {judgement.grade for judgement in judgements if judgement.key in keys}
    order: tuple[Grade, ...] = ("poor", "fair", "good", "unknown")
    return next((grade for grade in order if grade in grades), "unknown")


def _distance(figures: Mapping[str, Any], floor: Mapping[str, Any]) -> Judgement | None:
    value, least = finite(figures, "fd"), finite(floor, "fd")
    if value is None:
        return None
    grade: Grade = "unknown"
    beside = "floor not measured"
    if least:
        good, fair = _DISTANCE
        grade = "good" if value <= good * least else "fair" if value <= fair * least else "poor"
        beside = f"{times(value / least)} that of real images, {significant(least)}"
    return Judgement("fd", "Fréchet distance", significant(value), beside, _WORDS["fd"][grade], grade)


def _share(figures: Mapping[str, Any], floor: Mapping[str, Any], key: str, title: str) -> Judgement | None:
    value, most = finite(figures, key), finite(floor, key)
    if value is None:
        return None
    grade: Grade = "unknown"
    if most:
        good, fair = _SHARE
        grade = "good" if value >= good * most else "fair" if value >= fair * most else "poor"
    beside = "floor not measured" if most is None else f"real images {percent(most)}"
    return Judgement(key, title, percent(value), beside, _WORDS[key][grade], grade)


def _grain(record: RunRecord, name: str) -> Judgement | None:
    own, real = spectrum_of(record, name), spectrum_of(record, "floor")
    if own is None:
        return None
    bound = GRAIN if real is None else max(GRAIN, real.deviation)
    value = f"off by {percent(own.deviation)}"
    beside = "bound 20 %" if real is None else f"real images {percent(real.deviation)}"
    faults = spectrum_faults(own, real)
    grade: Grade = "poor" if own.deviation > 2.5 * bound else "fair" if faults else "good"
    words = f"they {listed(faults)}" if faults else "they have as much fine structure as the reference, and no more"
    return Judgement("spectrum_deviation", "Grain and sharpness", value, beside, words, grade)


def spectrum_faults(own: SpectrumOf, real: SpectrumOf | None) -> list[str]:
    """Say what a spectrum shows that real images do not: ``are grainy (…) and soft (…)``; nothing if all is well.

    Parameters
    ----------
    own, real
        The spectra of a model and of real images; None where there are none.
    """
    bound = GRAIN if real is None else max(GRAIN, real.deviation)
    looks, others = [], []
    for (where, ratio), fine, coarse in ((own.most, "grainy", "have too much"), (own.least, "soft", "lack")):
        if abs(ratio - 1) <= bound:
            continue
        measured = f"({times(ratio)} the reference’s power at {significant(where, 2)} of Nyquist)"
        if where >= _FINE:
            looks.append(f"{fine} {measured}")
        else:
            others.append(f"{coarse} coarse structure {measured}")
    corner = 1.0 if real is None else max(1.0, real.corner)
    if own.corner > 2 * corner:
        others.append(f"show a fine grid or grain ({times(own.corner)} the power in the corners of k-space)")
    return [f"are {listed(looks)}", *others] if looks else others


def listed(phrases: list[str]) -> str:
    """Join phrases: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)


def _air(record: RunRecord, figures: Mapping[str, Any]) -> Judgement | None:
    value, reference = finite(figures, "air"), finite(record.metrics, "reference_air")
    if value is None or reference is None:
        return None
    darkest = max(reference, finite(record.floor, "air") or 0.0)
    good, fair = _AIR
    excess = value - darkest
    grade: Grade = "good" if excess <= good else "fair" if excess <= fair else "poor"
    words = "the air is as dark as in real images"
    if grade != "good":
        ratio = value / darkest if darkest > 0 else math.inf
        words = f"{times(ratio)} as bright as in real images" if ratio < 1000 else "bright, and black in real images"
        words = f"the air is {words}"
    beside = f"reference {percent(reference)}"
    return Judgement("air", "Brightness of air", f"{percent(value)} of the peak", beside, words, grade)


def no_air(record: RunRecord) -> str | None:
    """Say why nothing is said of the air, where clean images were there; None where it was measured."""
    if "reference_air" not in record.metrics or finite(record.metrics, "reference_air") is not None:
        return None
    return (
        "Air was not measured: the reference is not dark in one place, as photographs and bodies that fill the image "
        "are not."
    )


def describe_floor(record: RunRecord) -> str | None:
    """Say what the floor is; None where none was measured."""
    floor = mapping(record.metrics, "floor")
    images, against = (significant(finite(floor, key)) for key in ("num_images", "num_reference"))
    if not floor:
        return None
    if floor.get("origin") == "training":
        return (
            f"The floor is what real images reach: {images} clean images of the training data, which only this "
            f"evaluation reads, against the {against} reference images. No model can be expected to do better."
        )
    return (
        f"The floor is what real images reach: one half of the reference ({images} images) against the other "
        f"({against}). Where slices of one subject lie in both, it is lower than that of other subjects."
    )
