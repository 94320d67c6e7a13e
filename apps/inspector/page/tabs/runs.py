"""Training runs: curves as they grow, samples over time, figures, the protocol; several runs beside one another."""

import asyncio
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsd_med.base.errors import DataError

from ..comparability import comparability
from ..desk import Desk, note, one_of, whole
from ..run_files import curves_address, grid_address, name_runs

if TYPE_CHECKING:
    from rsd_med.reporting.record import RunRecord

SECONDS = 10.0
"""Between two looks at runs that are being trained."""
STAGES = ("Student", "Teacher")
CURVES = (
    ("teacher", "loss", "Teacher: loss"),
    ("teacher", "proximal_fd", "Teacher: proximal distance"),
    ("student", "proximal_fd", "Student: proximal distance"),
    ("student", "fake_loss", "Student: loss of the fake score"),
    ("student", "gap", "Student: gap between teacher and fake score"),
    ("student", "diversity", "Student: diversity, 1 as the measurements"),
    ("student", "fd", "Student: distance to the reference"),
    ("teacher", "fd", "Teacher: distance to the reference"),
    ("teacher", "learning_rate", "Teacher: learning rate"),
    ("student", "images_per_second", "Student: images per second"),
)


def runs_tab(tab: Any, desk: Desk, runs: tuple[Path, ...]) -> None:
    """Build the tab, which looks at the runs whenever it is opened.

    ``runs`` are the folders that the command line named, and nothing else is ever read.
    """
    import gradio as gr

    names = name_runs(runs)
    with gr.Row(elem_classes="controls"):
        chosen = gr.CheckboxGroup(list(names), value=list(names)[:1], label="Runs", min_width=300)
        live = gr.Checkbox(True, label="Follow while training", min_width=200, scale=0)
        show = gr.Button("Look again", scale=0, min_width=140)
    summary = gr.HTML(note("Choose a run."), elem_id="runs-summary", apply_default_css=False)
    with gr.Row(elem_classes="controls"):
        stage = gr.Radio(STAGES, value=STAGES[0], label="Samples of", min_width=220, scale=0)
        moment = gr.Slider(0, 100, 100, step=1, label="Moment of training (%)", elem_id="runs-moment")
    pictures = gr.HTML("", elem_id="runs-samples", apply_default_css=False)
    with gr.Row(elem_classes="controls"):
        begin = gr.Slider(0, 95, 0, step=5, label="Curves from (% of the longest run)", elem_id="runs-from")
        end = gr.Slider(5, 100, 100, step=5, label="Curves to (%)", elem_id="runs-to")
    curves = gr.HTML("", elem_id="runs-curves", apply_default_css=False)
    timer = gr.Timer(SECONDS, active=True)

    async def look(
        chosen: Any, stage: Any, moment: Any, begin: Any, end: Any, request: gr.Request
    ) -> tuple[str, str, str]:
        try:
            desk.session(request)
            folders = _chosen(chosen, names)
            when = whole(moment, 0, 100, "The moment")
            which = one_of(stage, STAGES, "The stage").lower()
            zoom = whole(begin, 0, 95, "The beginning"), whole(end, 5, 100, "The end")
            return await asyncio.to_thread(describe_runs, folders, which, when, zoom)
        except DataError as error:
            return note(str(error), problem=True), "", ""

    async def look_again(
        chosen: Any, stage: Any, moment: Any, begin: Any, end: Any, live: Any, request: gr.Request
    ) -> tuple[Any, ...]:
        return *await look(chosen, stage, moment, begin, end, request), gr.Timer(active=bool(live))

    async def follow(
        chosen: Any, stage: Any, moment: Any, begin: Any, end: Any, request: gr.Request
    ) -> tuple[Any, ...]:
        try:
            training = [name for name, path in _chosen(chosen, names).items() if await asyncio.to_thread(_trains, path)]
        except DataError:
            training = []
        if not training:
            return gr.skip(), gr.skip(), gr.skip(), gr.Timer(active=False)  # until somebody looks again
        return *await look(chosen, stage, moment, begin, end, request), gr.skip()

    async def sample(chosen: Any, stage: Any, moment: Any, begin: Any, end: Any, request: gr.Request) -> str:
        return (await look(chosen, stage, moment, begin, end, request))[1]

    async def zoom(chosen: Any, stage: Any, moment: Any, begin: Any, end: Any, request: gr.Request) -> str:
        return (await look(chosen, stage, moment, begin, end, request))[2]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    asked, filled = [chosen, stage, moment, begin, end], [summary, pictures, curves]
    tab.select(look_again, [*asked, live], [*filled, timer], trigger_mode="once", **quiet)
    chosen.input(look_again, [*asked, live], [*filled, timer], trigger_mode="always_last", **quiet)
    show.click(look_again, [*asked, live], [*filled, timer], trigger_mode="once", **quiet)
    stage.input(sample, asked, pictures, trigger_mode="always_last", **quiet)
    moment.input(sample, asked, pictures, trigger_mode="always_last", **quiet)
    begin.input(zoom, asked, curves, trigger_mode="always_last", **quiet)
    end.input(zoom, asked, curves, trigger_mode="always_last", **quiet)
    live.change(lambda on: gr.Timer(active=bool(on)), live, timer, **quiet)
    timer.tick(follow, asked, [*filled, timer], trigger_mode="once", **quiet)


def describe_runs(
    runs: dict[str, Path], stage: str, moment: int, zoom: tuple[int, int] = (0, 100)
) -> tuple[str, str, str]:
    """Return figures and protocol, samples at a moment, and curves of some runs, as HTML."""
    from rsd_med.reporting.record import read_run
    from rsd_med.runs.run_folder import RunFolder

    records = {name: read_run(RunFolder(path)) for name, path in runs.items()}
    return (
        _figures(records) + "".join(_protocol(name, record) for name, record in records.items()),
        _samples(records, stage, moment),
        _curves(records, (zoom[0] / 100, zoom[1] / 100)),
    )


def _chosen(chosen: Any, names: dict[str, Path]) -> dict[str, Path]:
    if not isinstance(chosen, list) or not chosen:
        raise DataError("Choose at least one run.")
    return {name: names[name] for name in names if name in [one_of(one, tuple(names), "A run") for one in chosen]}


def _trains(path: Path) -> bool:
    import json

    try:
        return json.loads((path / "status.json").read_text(encoding="utf-8")).get("state") == "running"
    except (OSError, ValueError, AttributeError):
        return False


_FIGURES = {
    "fd": "Fréchet",
    "coverage": "Coverage",
    "precision": "Precision",
    "spectrum_deviation": "Spectrum",
    "air": "Air",
    "proximal_fd": "Proximal",
    "seconds_per_image": "Seconds an image",
}


def _figures(records: "dict[str, RunRecord]") -> str:
    from rsd_med.reporting.numbers import significant
    from rsd_med.reporting.record import finite, model_title

    models = {name: record.real_and_models() or {"": {}} for name, record in records.items()}
    measured = [figures for own in models.values() for figures in own.values()]
    shown = [column for column in _FIGURES if any(finite(figures, column) is not None for figures in measured)]
    rows = []
    for name, record in records.items():
        for model, figures in models[name].items():
            cells = [finite(figures, column) for column in shown]
            rows.append(
                f"<tr><th scope='row'>{html.escape(name)}</th><td>{html.escape(record.state)}</td>"
                f"<td>{html.escape(model_title(model) if model else 'not measured yet')}</td>"
                + "".join(f"<td>{'' if cell is None else significant(cell)}</td>" for cell in cells)
                + "</tr>"
            )
    head = "".join(
        f"<th scope='col'>{name}</th>" for name in ("Run", "State", "Model", *(_FIGURES[column] for column in shown))
    )
    problems = "".join(note(problem, problem=True) for record in records.values() for problem in record.problems)
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='Figures'><table class='figures'><thead><tr>"
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        "<p class='remark'>Fréchet, proximal: distances between sets of images, smaller is nearer. The floor is what "
        f"real images reach. {html.escape(comparability(records))}</p>{problems}"
    )


def _protocol(name: str, record: "RunRecord") -> str:
    text = html.escape(record.protocol_text or "There is no readable protocol.")
    return f"<details><summary>Protocol of {html.escape(name)}</summary><pre tabindex='0'>{text}</pre></details>"


def _samples(records: "dict[str, RunRecord]", stage: str, moment: int) -> str:
    parts = []
    for name, record in records.items():
        grids = sorted(record.grids.get(stage, {}))
        if not grids:
            parts.append(f"<p class='empty'>{html.escape(name)}: no samples of the {stage} yet.</p>")
            continue
        images = grids[round(moment / 100 * (len(grids) - 1))]
        parts.append(
            f"<figure><img class='snapshot' src='{html.escape(grid_address(name, stage, images))}' alt='Samples of the "
            f"{stage} of {html.escape(name)} after {images:,} images'><figcaption>{html.escape(name)}: {stage} after "
            f"{images:,} images, always from the same latents, at the same window</figcaption></figure>"
        )
    return f"<div class='snapshots'>{''.join(parts)}</div>"


def _curves(records: "dict[str, RunRecord]", zoom: tuple[float, float]) -> str:
    from rsd_med.reporting.overlay import overlay_chart

    charts = []
    for stage, figure, title in CURVES:
        series = {name: record.series(stage, figure) for name, record in records.items()}
        if any(series.values()):
            charts.append(overlay_chart(title, series, zoom))
    if not charts:
        return "<p class='empty'>No curves yet.</p>"
    link = html.escape(curves_address(list(records)))
    return (
        f"<div class='charts'>{''.join(charts)}</div><p class='exports'>"
        f"<a href='{link}' download='curves.csv'>Download all curves as numbers (CSV)</a></p>"
    )
