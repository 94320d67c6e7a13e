"""The figures of the report: the table of distances and times, and the curves."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rsd_med.reporting.cards import cards
from rsd_med.reporting.curves import line_chart
from rsd_med.reporting.markup import Markup, tag
from rsd_med.reporting.meanings import FIGURES_IN_WORDS
from rsd_med.reporting.numbers import spread, whole
from rsd_med.reporting.quality import describe_floor, no_air
from rsd_med.reporting.record import RunRecord, model_title, number
from rsd_med.reporting.spectrum import spectrum_chart, spectrum_of
from rsd_med.reporting.verdict import compare_models, describe_comparison, shown_model

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
    ("spectrum_deviation", "Spectrum", "largest departure up to 0.9 of Nyquist"),
    ("air", "Air", "brightness, as a share of the peak"),
)
_FAULTS = ("spectrum_deviation", "air")
_CHARTS = {
    "teacher": (
        ("fd", "Fréchet distance", ""),
        ("loss", "Loss", ""),
        ("proximal_fd", "Proximal distance", ""),
        ("images_per_second", "Speed", "images/s"),
    ),
    "student": (
        ("fd", "Fréchet distance", ""),
        ("proximal_fd", "Proximal distance", ""),
        ("loss", "Generator loss", ""),
        ("fake_loss", "Fake-score loss", ""),
        ("gap", "Teacher–fake gap", ""),
        ("diversity", "Diversity", "of the data"),
        ("images_per_second", "Speed", "images/s"),
    ),
    "reconstructor": (
        ("energy_score", "Energy score", "of hidden lines"),
        ("loss", "Loss", ""),
        ("images_per_second", "Speed", "images/s"),
    ),
}


def metrics_section(record: RunRecord) -> Markup:
    """Show the figures that matter large, then tabulate all of every model, and say what is behind them."""
    models = record.models()
    if not models:
        missing = tag("p", "Nothing has been evaluated yet: there is no metrics.json in this run.", class_="missing")
        return tag("section", tag("h2", "Figures", id="figures"), missing, aria_labelledby="figures")
    name = shown_model(record)
    return tag(
        "section",
        tag("h2", f"{model_title(name)}: how good are the images?", id="figures"),
        cards(record, name),
        *(tag("p", sentence, class_="remark") for sentence in (describe_floor(record), no_air(record)) if sentence),
        _spectra(record),
        tag("h3", "All models"),
        tag("p", "Under the same conditions, from the same noise, against the same images.", class_="remark"),
        tag("div", _table(record), class_="scroll", tabindex="0", role="region", aria_label="Table of figures"),
        tag("p", " ".join(_remarks(record)), class_="remark"),
        *_shares(record),
        _behind(record),
        aria_labelledby="figures",
    )


def _remarks(record: RunRecord) -> list[str]:
    models = record.models()
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
    comparison = describe_comparison(compare_models(models))
    return remarks if comparison is None else [*remarks, comparison]


def _spectra(record: RunRecord) -> Markup | None:
    """Draw the spectra of the models and of real images."""
    kinds = {"floor": "real", "student": "student"}
    curves = {
        model_title(name): (spectrum, kinds.get(name, "teacher"))
        for name in record.real_and_models()
        if (spectrum := spectrum_of(record, name)) is not None
    }
    if not curves:
        return None
    remark = (
        "Grain has more power than real images on the right of the chart, blur less; a grid of pixels stands out in "
        "the corner. The band is within 20 % of the reference, up to 0.9 of Nyquist."
    )
    return tag("div", spectrum_chart(curves), tag("p", remark, class_="remark"), class_="spectra")


def _table(record: RunRecord) -> Markup:
    models, rows_of = record.models(), record.real_and_models()
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
    for name, figures in rows_of.items():
        best = {} if name == "floor" else models
        cells = [_cell(figures, key, _best(best, key)) for key, _, _ in columns]
        cells.append(_cell(figures, "seconds_per_image", _best(best, "seconds_per_image"), factor))
        cells.append(tag("td", whole(number(figures, "network_calls"))))
        rows.append(_row(name, cells))
    return tag("table", tag("thead", head), tag("tbody", *rows), aria_label="Figures of each model")


def _row(name: str, cells: Sequence[Markup]) -> Markup:
    return tag("tr", tag("th", model_title(name), scope="row"), *cells, class_=name.partition(".")[0])


def _measured_columns(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    keys = {key for figures in models.values() for key in figures if number(figures, key) is not None}
    return [column for column in _COLUMNS if column[0] in keys]


def _shares(record: RunRecord) -> list[Markup]:
    """Tabulate what a distance mixes: how real single samples look, how much variety there is, and the faults."""
    models, rows_of = record.models(), record.real_and_models()
    if not any(number(figures, "precision") is not None for figures in models.values()):
        return []
    columns = [
        column for column in _SHARES if any(number(figures, column[0]) is not None for figures in models.values())
    ]
    head = tag(
        "tr",
        tag("th", "Model", scope="col"),
        *(tag("th", title, tag("small", note), scope="col") for _, title, note in columns),
    )
    rows = []
    for name, figures in rows_of.items():
        best = {} if name == "floor" else models
        # More than 1 is as far from the law as less: no density is the best.
        chosen = {
            key: None if key == "density" else _best(best, key, min if key in _FAULTS else max) for key, _, _ in columns
        }
        rows.append(_row(name, [_cell(figures, key, chosen[key]) for key, _, _ in columns]))
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
    asked = ["teacher", "student", *(["reconstructor"] if record.images_seen("reconstructor") else [])]
    parts = [_stage(record, stage) for stage in asked]
    return tag("section", tag("h2", "Curves", id="curves"), *parts, aria_labelledby="curves")


def _stage(record: RunRecord, stage: str) -> Markup:
    heading = tag("h3", stage.capitalize())
    if not record.images_seen(stage):
        return tag("div", heading, tag("p", f"The {stage} has not been trained yet.", class_="missing"))
    chosen = record.chosen() if stage == "student" else None
    charts = []
    for key, title, unit in _CHARTS[stage]:
        if key == "fd" and not record.series(stage, key):
            continue  # there was no clean reference
        mark = chosen if key == "proximal_fd" else None
        charts.append(line_chart(title, record.series(stage, key), unit, mark, "chosen", from_zero=title == "Speed"))
    notes = {
        "teacher": "The loss is the objective’s weighted error, averaged between log lines.",
        "student": "The student is the weight average with the smallest proximal distance: no clean image chose it. "
        "The generator’s loss compares two networks that both move, and need not fall. The gap is what teacher and "
        "fake score disagree about, in units of what the teacher would change. A diversity of 1 is that of the data; "
        "where it falls to 0, the student has collapsed.",
        "reconstructor": "The loss is the energy score of lines that were measured and not shown to the network; the "
        "energy score of an evaluation is that of the average of its weights, with the same lines hidden each time.",
    }
    return tag(
        "div", heading, tag("p", notes[stage], class_="remark"), tag("div", *charts, class_="charts"), class_=stage
    )
