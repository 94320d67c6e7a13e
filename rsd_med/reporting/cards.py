"""The figures that matter of one model, large, each beside that of real images and with a word on it."""

from rsd_med.reporting.markup import Markup, tag
from rsd_med.reporting.numbers import significant, times, whole
from rsd_med.reporting.quality import Judgement, judge
from rsd_med.reporting.record import RunRecord, finite
from rsd_med.reporting.verdict import compare_models

_GRADES = {"good": "good", "fair": "fair", "poor": "poor", "unknown": "no floor"}


def cards(record: RunRecord, name: str) -> Markup | None:
    """Show the judged figures of a model and its speed; None where nothing was measured."""
    shown = [_card(judgement) for judgement in judge(record, name)]
    figures = record.models().get(name, {})
    proximal, seconds = finite(figures, "proximal_fd"), finite(figures, "seconds_per_image")
    if not shown and proximal is not None:
        beside = "to the measurements, once corrupted like them"
        shown.append(_plain_card("Proximal distance", significant(proximal), beside, "no clean image is needed for it"))
    if seconds is not None:
        value = f"{significant(1000 * seconds)} ms" if seconds < 1 else f"{significant(seconds)} s"
        calls = finite(figures, "network_calls")
        beside = "per image" if calls is None else f"per image, {whole(calls)} network call{'s' if calls != 1 else ''}"
        shown.append(_plain_card("Time", value, beside, _speed(record) if name == "student" else ""))
    return tag("div", *shown, class_="cards") if shown else None


def _card(judgement: Judgement) -> Markup:
    grade = tag("span", _GRADES[judgement.grade], class_=f"grade {judgement.grade}")
    return tag(
        "div",
        tag("h3", judgement.title, grade),
        tag("p", judgement.value, class_="value"),
        tag("p", judgement.beside, class_="beside"),
        tag("p", f"{judgement.words[0].upper()}{judgement.words[1:]}.", class_="words"),
        class_=f"card {judgement.grade}",
    )


def _plain_card(title: str, value: str, beside: str, words: str) -> Markup:
    return tag(
        "div",
        tag("h3", title),
        tag("p", value, class_="value"),
        tag("p", beside, class_="beside"),
        tag("p", words, class_="words") if words else None,
        class_="card",
    )


def _speed(record: RunRecord) -> str:
    comparison = compare_models(record.models())
    if comparison is None or comparison.speedup is None:
        return ""
    return f"{times(comparison.speedup)} as fast as the teacher’s best sampler ({comparison.sampler})."
