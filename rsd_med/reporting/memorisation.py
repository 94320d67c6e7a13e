"""Whether the model repeats its training measurements: the figures of the audit, and the nearest pairs to look at."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from rsd_med.reporting.markup import Markup, tag
from rsd_med.reporting.numbers import significant, whole
from rsd_med.reporting.pictures import enlarge, png_uri, sheet, sheet_size
from rsd_med.reporting.record import RunRecord, mapping, model_title, number
from rsd_med.runs.grids import to_grey_levels

ALARM = 0.01
"""Below this probability, as many near-copies are not put down to chance."""

_PLACE = 1232
_ROWS = (
    ("samples", "Samples"),
    ("seen", "As the scans of the row below would have seen them"),
    ("measurements", "Their nearest training measurements"),
)
_BASELINES = {
    "clean": "clean images that the model has not seen",
    "clean, each without its own measurement": "clean images of the training set, each without its own measurement",
    "measurements, each without itself": "the training measurements, each without itself",
}


def memorisation_section(record: RunRecord) -> Markup:
    """Say what the audit found, and show the pairs that are nearest."""
    heading = tag("h2", "Memorisation", id="memorisation")
    audit = mapping(record.metrics, "memorisation")
    if number(audit, "share") is None:
        body = [tag("p", "Not audited: nothing is known about whether the model repeats its data.", class_="missing")]
    else:
        body = [
            tag("p", conclusion(audit), class_="verdict"),
            tag("p", " ".join(explanation(audit)), class_="remark"),
            *_pictures(record.audit),
            _table(audit),
        ]
    return tag("section", heading, *body, aria_labelledby="memorisation")


def conclusion(audit: Mapping[str, Any]) -> str:
    """Judge the audit in one sentence."""
    copies, total = whole(number(audit, "near_copies")), whole(number(audit, "num_samples"))
    interval = f"95 % interval {_percent(audit, 'share_low')} to {_percent(audit, 'share_high')}"
    figures = f"{copies} of {total} samples ({_percent(audit, 'share')}, {interval})"
    start = "The model repeats training data" if alarming(audit) else "No sign of copying"
    expected = _percent(audit, "expected_share")
    return f"{start}: {figures} count as near-copies of a training measurement, where {expected} would be chance."


def alarming(audit: Mapping[str, Any]) -> bool:
    """Whether there are more near-copies than chance explains."""
    probability = number(audit, "p_value")
    return probability is not None and probability < ALARM


def explanation(audit: Mapping[str, Any]) -> list[str]:
    """Say in plain words how the audit was done."""
    unseen = _BASELINES.get(str(audit.get("baseline")), "unseen images")
    model = model_title(str(audit.get("model", "the model"))).lower()
    if audit.get("baseline") == "measurements, each without itself":
        how = (
            "corrupted as the data were, and its picture held against that of every training measurement: there are no "
            "clean images, and a copy can hide behind its corruption."
        )
    else:
        how = "held against every training measurement, through that measurement’s own scan and on what it acquired."
    return [
        f"Each of {whole(number(audit, 'num_samples'))} samples of the {model} was {how}",
        "It counts as a near-copy if its nearest measurement is nearer, compared with the next ones, than that of 99 % "
        f"of {whole(number(audit, 'num_held_out'))} images that it cannot have copied: {unseen}.",
        f"The probability of so many by chance is {significant(number(audit, 'p_value'), 2)}.",
        "An audit can find copying; it cannot prove privacy. Partial copies, and copies turned or mirrored, escape it.",
    ]


def _percent(audit: Mapping[str, Any], key: str) -> str:
    value = number(audit, key)
    return "–" if value is None else f"{100 * value:.1f} %"


def _pictures(audit: Mapping[str, Tensor]) -> list[Markup]:
    if any(name not in audit for name, _ in _ROWS):
        return []
    count = len(audit["samples"])
    rows = []
    for name, title in _ROWS:
        levels = to_grey_levels(audit[name])
        scale = min(4.0, _PLACE / sheet_size(count, levels.shape[2]))
        shown = sheet(enlarge(levels, scale), count)
        height, width = shown.shape[:2]
        alt = f"{title}, {count} images"
        picture = tag("img", src=png_uri(shown), alt=alt, width=width, height=height)
        rows.append(tag("figure", picture, tag("figcaption", tag("b", title))))
    return [tag("div", *rows, class_="pairs")]


def _table(audit: Mapping[str, Any]) -> Markup:
    pairs = [pair for pair in audit.get("pairs", []) if isinstance(pair, Mapping)]
    titles = (
        ("Sample", "number"),
        ("Training measurement", "number"),
        ("Distance", "0 is a copy"),
        ("Nearness", f"near-copy below {significant(number(audit, 'threshold'))}"),
    )
    head = tag("tr", *(tag("th", title, tag("small", note), scope="col") for title, note in titles))
    rows = [
        tag(
            "tr",
            tag("th", whole(number(pair, "sample")), scope="row"),
            tag("td", whole(number(pair, "measurement"))),
            tag("td", significant(number(pair, "distance"))),
            tag("td", significant(number(pair, "nearness"))),
        )
        for pair in pairs
    ]
    table = tag("table", tag("thead", head), tag("tbody", *rows), aria_label="Samples nearest to a measurement")
    inside = tag("div", table, class_="scroll costs", tabindex="0", role="region", aria_label="Table of nearest pairs")
    return tag("details", tag("summary", f"The {len(pairs)} nearest pairs, by number"), inside)
