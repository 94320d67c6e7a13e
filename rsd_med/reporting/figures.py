"""The figures of the report: the table of distances and times, and the curves."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rsd_med.reporting.curves import line_chart
from rsd_med.reporting.gallery import model_title
from rsd_med.reporting.markup import Markup, tag
from rsd_med.reporting.meanings import FIGURES_IN_WORDS
from rsd_med.reporting.numbers import spread, times, whole
from rsd_med.reporting.record import RunRecord, number
from rsd_med.reporting.verdict import compare_models

_COLUMNS = (
    ("fd", "Fréchet distance", "to clean images"),
    ("kid", "Kernel distance", "to clean images"),
    ("proximal_fd", "Proximal distance", "to the measurements"),
)
_SHARES = (
    ("precision", "Precision", "samples among clean images"),
    ("recall", "Recall", "clean images among samples"),
    ("density", "Density", "clean images around a sample"),
    ("coverage", "Coverage", "clean images with a sample nearby"),
)
_CHARTS = {
    "teacher": (
        ("loss", "Loss", ""),
        ("proximal_fd", "Proximal distance", ""),
        ("images_per_second", "Speed", "images/s"),
    ),
    "student": (
        ("proximal_fd", "Proximal distance", ""),
        ("loss", "Generator loss", ""),
        ("fake_loss", "Fake-score loss", ""),
        ("gap", "Teacher–fake gap", ""),
        ("diversity", "Diversity", "of the data"),
        ("images_per_second", "Speed", "images/s"),
    ),
}


def metrics_section(record: RunRecord) -> Markup:
    """Tabulate every model's distances and times, and say what is behind them."""
    heading = tag("h2", "Figures", id="figures")
    models = record.models()
    if not models:
        missing = tag("p", "Nothing has been evaluated yet: there is no metrics.json in this run.", class_="missing")
        return tag("section", heading, missing, aria_labelledby="figures")
    remarks = [
        "Smaller is better throughout; the smallest of each column is bold.",
        "The proximal distance compares generations, corrupted afresh, with the measurements: it needs no clean image.",
    ]
    if not any(number(figures, "fd") is not None for figures in models.values()):
        remarks.append("The run has no clean reference, so there is no Fréchet or kernel distance to clean images.")
    if (number(record.metrics, "seeds") or 1) > 1:
        remarks.append(f"Means over {whole(number(record.metrics, 'seeds'))} seeds, ± their standard deviation.")
    if "student" not in models:
        remarks.append("There is no student to measure yet.")
    return tag(
        "section",
        heading,
        tag(
            "p", "All models under the same conditions, from the same noise, against the same images.", class_="remark"
        ),
        tag("div", _table(models), class_="scroll", tabindex="0", role="region", aria_label="Table of figures"),
        tag("p", " ".join(remarks), class_="remark"),
        *_shares(models),
        _behind(record),
        aria_labelledby="figures",
    )


def _table(models: Mapping[str, Mapping[str, Any]]) -> Markup:
    columns = _measured_columns(models)
    unit, factor = _time_unit([number(figures, "seconds_per_image") for figures in models.values()])
    head = tag(
        "tr",
        tag("th", "Model", scope="col"),
        *(tag("th", title, tag("small", note), scope="col") for _, title, note in columns),
        tag("th", "Time per image", tag("small", unit), scope="col"),
        tag("th", "Network calls", tag("small", "per image"), scope="col"),
    )
    rows = []
    for name, figures in models.items():
        cells = [_cell(figures, key, _best(models, key)) for key, _, _ in columns]
        cells.append(_cell(figures, "seconds_per_image", _best(models, "seconds_per_image"), factor))
        cells.append(tag("td", whole(number(figures, "network_calls"))))
        kind = name.partition(".")[0]
        rows.append(tag("tr", tag("th", model_title(name), scope="row"), *cells, class_=kind))
    return tag(
        "table", tag("thead", head), tag("tbody", *rows, *_comparison_row(models)), aria_label="Figures of each model"
    )


def _measured_columns(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    keys = {key for figures in models.values() for key in figures if number(figures, key) is not None}
    return [column for column in _COLUMNS if column[0] in keys]


def _comparison_row(models: Mapping[str, Mapping[str, Any]]) -> list[Markup]:
    comparison = compare_models(models)
    if comparison is None:
        return []
    teacher, student = models[f"teacher.{comparison.sampler}"], models["student"]
    cells = [tag("td", _ratio(number(student, key), number(teacher, key))) for key, _, _ in _measured_columns(models)]
    faster = "–" if comparison.speedup is None else f"{times(comparison.speedup)} as fast"
    title = f"Student ÷ teacher ({comparison.sampler})"
    cells += [tag("td", faster), tag("td", _ratio(number(student, "network_calls"), number(teacher, "network_calls")))]
    return [tag("tr", tag("th", title, scope="row"), *cells, class_="ratio")]


def _ratio(student: float | None, teacher: float | None) -> str:
    if student is None or not teacher or not math.isfinite(student) or not math.isfinite(teacher):
        return "–"
    return times(student / teacher)


def _shares(models: Mapping[str, Mapping[str, Any]]) -> list[Markup]:
    """Tabulate what a distance mixes: how real single samples look, and how much of the variety is there."""
    if not any(number(figures, "precision") is not None for figures in models.values()):
        return []
    head = tag(
        "tr",
        tag("th", "Model", scope="col"),
        *(tag("th", title, tag("small", note), scope="col") for _, title, note in _SHARES),
    )
    rows = []
    for name, figures in models.items():
        # More than 1 is as far from the law as less: no density is the best.
        cells = [_cell(figures, key, None if key == "density" else _best(models, key, max)) for key, _, _ in _SHARES]
        rows.append(tag("tr", tag("th", model_title(name), scope="row"), *cells, class_=name.partition(".")[0]))
    table = tag("table", tag("thead", head), tag("tbody", *rows), aria_label="Fidelity and variety of each model")
    terms = [tag("div", tag("dt", term), tag("dd", meaning)) for term, meaning in FIGURES_IN_WORDS]
    return [
        tag("h3", "Fidelity and variety"),
        tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Table of fidelity and variety"),
        tag("details", tag("summary", "What these figures mean"), tag("dl", *terms, class_="meanings")),
    ]


def _cell(figures: Mapping[str, Any], key: str, best: float | None, factor: float = 1.0) -> Markup:
    value = number(figures, key)
    text = spread(value, number(figures, f"{key}_std"), factor)
    return tag("td", tag("b", text) if value is not None and value == best else text)


def _best(
    models: Mapping[str, Mapping[str, Any]], key: str, choose: Callable[[list[float]], float] = min
) -> float | None:
    values = [value for figures in models.values() if (value := number(figures, key)) is not None]
    finite = [value for value in values if math.isfinite(value)]
    return choose(finite) if len(finite) > 1 else None


def _time_unit(seconds: Sequence[float | None]) -> tuple[str, float]:
    smallest = min((value for value in seconds if value), default=1.0)
    return ("seconds", 1.0) if smallest >= 0.1 else ("milliseconds", 1e3)


def _behind(record: RunRecord) -> Markup:
    metrics = record.metrics
    references = number(metrics, "num_reference")
    facts = {
        "Feature extractor": str(metrics.get("features", "not recorded")),
        "Samples of each model": whole(number(metrics, "num_samples")),
        "Reference images": "none" if not references else whole(references),
        "Seed": str(metrics.get("seed", "not recorded")),
    }
    pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()]
    pairs.append(tag("div", tag("dt", "Command"), tag("dd", tag("code", record.command or "not recorded"))))
    return tag("dl", *pairs, class_="facts")


def curves_section(record: RunRecord) -> Markup:
    """Draw what was logged, over images."""
    parts = [_stage(record, stage) for stage in ("teacher", "student")]
    return tag("section", tag("h2", "Curves", id="curves"), *parts, aria_labelledby="curves")


def _stage(record: RunRecord, stage: str) -> Markup:
    heading = tag("h3", stage.capitalize())
    if not record.images_seen(stage):
        return tag("div", heading, tag("p", f"The {stage} has not been trained yet.", class_="missing"))
    chosen = record.chosen() if stage == "student" else None
    charts = []
    for key, title, unit in _CHARTS[stage]:
        mark = chosen if key == "proximal_fd" else None
        charts.append(line_chart(title, record.series(stage, key), unit, mark, "chosen", from_zero=title == "Speed"))
    notes = {
        "teacher": "The loss is the objective’s weighted error, averaged between log lines.",
        "student": "The student is the weight average with the smallest proximal distance: no clean image chose it. "
        "The generator’s loss compares two networks that both move, and need not fall. The gap is what teacher and "
        "fake score disagree about, in units of what the teacher would change. A diversity of 1 is that of the data; "
        "where it falls to 0, the student has collapsed.",
    }
    return tag(
        "div", heading, tag("p", notes[stage], class_="remark"), tag("div", *charts, class_="charts"), class_=stage
    )
