"""From rows to the table, its verdicts and its figures."""

import json
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

from benchmarks.common import RESULTS, Figure, conclude
from benchmarks.methods.bench import Bench
from benchmarks.methods.figure import draw_figure
from benchmarks.methods.methods import METHODS, TEACHERS
from rsd_med.base.files import write_text

SPEEDUP = 30.0
ORDER = ("sid", "dmd", "sds")
COLUMNS = {
    "fd": "Fréchet",
    "kid": "kernel",
    "precision": "precision",
    "recall": "recall",
    "classifier_fd": "Fréchet, classifier",
    "proximal_fd": "proximal",
    "seconds_per_image": "ms per image",
    "network_calls": "calls",
    "training_images": "training images",
    "training_seconds": "training, s",
}


def conclude_table(benches: Sequence[Bench], size: str) -> int:
    """Print and write the table and the verdicts; return 1 where a bound is not kept."""
    tasks = {bench.task.name: [other for other in benches if other.task == bench.task] for bench in benches}
    rows = {name: read_rows(group) for name, group in tasks.items()}
    figures = [figure for name, group in tasks.items() for figure in judge(group[0], rows[name])]
    text = "\n\n".join(render(group, rows[name]) for name, group in tasks.items())
    print(text)
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_text(RESULTS / f"methods-{size}.md", text + "\n")
    for name, group in tasks.items():
        draw_figure(group[0], [method for method in ("floor", *METHODS) if method in rows[name]], size)
    details = {"seeds": sorted({bench.seed for bench in benches}), "budget": vars(benches[0].budget), "rows": rows}
    return conclude(f"methods-{size}", figures, details)


def read_rows(group: Sequence[Bench]) -> dict[str, list[dict[str, Any]]]:
    """Read what was measured of a task: a list over seeds for each method, the floor and the speed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for bench in group:
        for name in ("floor", *METHODS, "speed"):
            path = bench.folder / "rows" / f"{name}.json"
            if path.exists():
                found.setdefault(name, []).append(json.loads(path.read_text()))
    return found


def judge(bench: Bench, rows: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    """Hold the student to its bounds, by every extractor there is."""
    task, figures = bench.task, []
    for key in ("fd", "classifier_fd"):
        by_method = {name: [row[key] for row in found] for name, found in rows.items() if key in found[0]}
        teachers = [mean(by_method[name]) for name in TEACHERS if name in by_method]
        what = "" if key == "fd" else ", classifier"
        if "sid" in by_method and teachers:
            ratio = mean(by_method["sid"]) / min(teachers)
            figures.append(Figure(f"{task.name}: student / teacher's best{what}", ratio, task.bound))
        for better, worse in pairwise(ORDER):
            if better in by_method and worse in by_method:
                ratio = mean(by_method[better]) / mean(by_method[worse])
                figures.append(Figure(f"{task.name}: {better} / {worse}{what}", ratio, 1.0))
    if "speed" in rows:
        speedup = min(row["speedup"] for row in rows["speed"])
        figures.append(Figure(f"{task.name}: speedup", speedup, SPEEDUP, at_most=False))
    return figures


def render(group: Sequence[Bench], rows: dict[str, list[dict[str, Any]]]) -> str:
    """Write a task's table in Markdown."""
    task = group[0].task
    seeds = ", ".join(str(bench.seed) for bench in group if (bench.folder / "rows" / "teacher_full.json").exists())
    present = {key: title for key, title in COLUMNS.items() if any(key in found[0] for found in rows.values())}
    lines = [
        f"**{task.name}**: {task.about}, {task.data} at {group[0].side}², "
        f"{group[0].budget.samples:,} samples, seeds {seeds}",
        "",
        "| method | " + " | ".join(present.values()) + " |",
        "|---" * (len(present) + 1) + "|",
    ]
    for name in ("floor", *METHODS):
        if name in rows:
            cells = [_cell(key, [row[key] for row in rows[name] if key in row]) for key in present]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(key: str, values: Sequence[float]) -> str:
    """Show a value, and its spread over seeds where it is a distance."""
    if not values:
        return ""
    value = mean(values)
    if key == "seconds_per_image":
        return f"{1000 * value:.2g}"
    if key in ("network_calls", "training_images", "training_seconds"):
        return f"{value:,.0f}"
    spread = f" ± {stdev(values):.2g}" if len(values) > 1 else ""
    return f"{value:.3g}{spread}"
