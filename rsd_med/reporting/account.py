"""What was done: cost, protocol, environment, and everything that went less than smoothly."""

from collections.abc import Mapping
from typing import Any

from rsd_med.reporting.markup import Markup, tag
from rsd_med.reporting.noise_level import describe_noise_level, noise_level_doubts
from rsd_med.reporting.numbers import duration, significant, whole
from rsd_med.reporting.record import RunRecord, mapping, number

_STAGES = {"teacher": "Teacher", "student": "Student", "reconstructor": "Reconstructor"}


def account_section(record: RunRecord) -> Markup:
    """Say what it cost and how it was done."""
    teacher = record.describe_given_teacher()
    return tag(
        "section",
        tag("h2", "What was done", id="account"),
        tag("h3", "Cost and time"),
        tag("p", "Wall time includes the evaluations of a stage; images per second does not.", class_="remark"),
        tag("div", _costs(record), class_="scroll costs", tabindex="0", role="region", aria_label="Table of costs"),
        _machine(record),
        _noise_level(record),
        None if teacher is None else tag("p", f"Teacher: {teacher}.", class_="remark"),
        tag("h3", "Warnings"),
        tag("ul", *(tag("li", sentence) for sentence in warnings(record) or ["None."])),
        tag("h3", "Protocol and environment"),
        _folded("Resolved protocol", record.protocol_text or "There is no protocol in this run folder."),
        _folded("Environment", "\n".join(_flat(_shareable(record.environment))) or "No environment was recorded."),
        aria_labelledby="account",
    )


def warnings(record: RunRecord) -> list[str]:
    """List what a reader should know before trusting the figures."""
    sentences = []
    if record.state != "done":
        sentences.append(f"The run is not done; its state is “{record.state}”.")
    if record.status.get("reason"):
        sentences.append(str(record.status["reason"]))
    if record.state != "done" and record.metrics:
        sentences.append("The figures are those of an earlier evaluation, and may not describe the newest checkpoint.")
    for stage, title in _STAGES.items():
        skipped = record.total(stage, "skipped")
        if skipped:
            steps = "step was" if skipped == 1 else "steps were"
            sentences.append(f"{title}: {whole(skipped)} {steps} skipped because a gradient was not finite.")
        asked = number(mapping(record.protocol, stage), "images")
        images = record.images_seen(stage)
        if asked and 0 < images < asked:
            sentences.append(f"{title}: {whole(images)} of {whole(asked)} images seen.")
    if record.models() and not number(record.metrics, "num_reference"):
        sentences.append("No clean reference: only the proximal distance was measured.")
    sentences += noise_level_doubts(mapping(record.protocol, "corruption"))
    return sentences + list(record.problems)


def stage_seconds(record: RunRecord) -> dict[str, float]:
    """Return the wall seconds of each stage: as recorded with the metrics, else summed from the log."""
    recorded = mapping(record.metrics, "seconds")
    durations = {}
    for stage in (*_STAGES, "evaluation"):
        logged = record.total(stage, "seconds") + record.total(stage, "evaluation_seconds")
        # After an evaluation a run may have gone on: the log then knows more than the metrics.
        seconds = max(number(recorded, stage) or 0.0, logged)
        if seconds:
            durations[stage] = seconds
    return durations


def _costs(record: RunRecord) -> Markup:
    seconds = stage_seconds(record)
    titles = ("Stage", "Images", "Wall time", "Images per second")
    head = tag("tr", *(tag("th", title, scope="col") for title in titles))
    rows = []
    for stage, title in (*_STAGES.items(), ("evaluation", "Final evaluation")):
        images = record.images_seen(stage) or None
        if stage == "reconstructor" and images is None:
            continue
        speed = record.total(stage, "seconds")
        rate = images / speed if images and speed else None
        cells = (whole(images), duration(seconds.get(stage)), significant(rate))
        rows.append(tag("tr", tag("th", title, scope="row"), *(tag("td", cell) for cell in cells)))
    total = duration(sum(seconds.values()) or None)
    rows.append(tag("tr", tag("th", "Together", scope="row"), tag("td"), tag("td", total), tag("td"), class_="ratio"))
    return tag("table", tag("thead", head), tag("tbody", *rows), aria_label="Cost and time of each stage")


def _machine(record: RunRecord) -> Markup | None:
    known = record.environment
    if not known:
        return None
    parts = [str(known["gpu"]) if known.get("gpu") else "no GPU"]
    if "threads" in known and "cpu_count" in known:
        threads = "1 thread" if known["threads"] == 1 else f"{known['threads']} threads"
        parts.append(f"{threads} on {known['cpu_count']} CPU cores")
    if known.get("platform"):
        parts.append(str(known["platform"]))
    return tag("p", "Machine: " + ", ".join(parts) + ".", class_="remark")


def _noise_level(record: RunRecord) -> Markup | None:
    sentence = describe_noise_level(mapping(record.protocol, "corruption"))
    return None if sentence is None else tag("p", f"Noise: {sentence}.", class_="remark")


def _folded(title: str, text: str) -> Markup:
    return tag("details", tag("summary", title), tag("pre", tag("code", text), tabindex="0"))


def _shareable(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out where files lie: reports are passed on."""
    return {key: value for key, value in environment.items() if key != "protocol_folder"}


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{key}.")
        else:
            lines.append(f"{prefix}{key}: {'none' if value is None else value}")
    return lines
