"""Samples: a grid from the student; one sample closely, beside its nearest measurement and its teacher; walks between.

What is drawn is told by three numbers (seed, number, truncation), and the same three always draw the same. A grid has
an address that holds them: ``?seed=7&count=36&truncation=0.9``.
"""

import contextlib
import html
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import numpy as np

from rsd_med.base.errors import DataError

from ...viewer.page import viewer_frame
from ..desk import Desk, note, one_of, real, result_of, whole
from ..sample_grids import grid_html, nearest_sentence, pairs_html, sample_pane, sample_panes, teacher_html
from ..sheets import grey, magnitude, sheet

COUNTS = (16, 36, 64)
SHOWN = ("Magnitude", "Phase", "With nearest measurement kept", "With nearest of all training data")
BUDGETS = (1, 5, 17, 35)
MOST_SEED = 2**31 - 1
FRAMES = 9
TEACHER_IMAGES = 8
EMPTY = '<p class="empty">Choose a sample in the grid to look at it closely.</p>'


def samples_tab(page: Any, desk: Desk) -> None:
    """Build the tab."""
    import gradio as gr

    with gr.Row(elem_classes="controls"):
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MOST_SEED, min_width=110)
        count = gr.Radio(COUNTS, value=COUNTS[0], label="Samples", min_width=190)
        truncation = gr.Slider(0.5, 1.0, 1.0, step=0.05, label="Truncation ψ")
        shown = gr.Radio(SHOWN, value=SHOWN[0], label="Show", min_width=360)
        with gr.Column(min_width=210, scale=0, elem_classes="buttons"):
            draw = gr.Button("Draw", variant="primary")
            another = gr.Button("Next seed")
    status = gr.HTML(note("Starting the model …", busy=True), elem_id="samples-status", apply_default_css=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=400):
            grid = gr.HTML(
                '<div class="sheet waiting"></div>', elem_id="grid", apply_default_css=False, js_on_load=TILES
            )
        with gr.Column(scale=6, min_width=480, elem_id="closely"):
            chosen = gr.Number(None, visible=False)
            closely = gr.HTML(EMPTY, elem_id="closely-view", apply_default_css=False)
            search = gr.Button("Search the whole training set for this sample", size="sm", elem_id="search")
            with gr.Row(elem_classes="controls"):
                budget = gr.Radio(BUDGETS, value=1, label="Teacher beside student: network calls for each image")
                compare = gr.Button("Compare", min_width=120, scale=0)
            with gr.Row(elem_classes="controls"):
                other = gr.Number(1, label="Walk from the chosen sample to number", precision=0, minimum=0, maximum=63)
                walk = gr.Button("Walk", min_width=120, scale=0)
            cancel = gr.Button("Cancel what is computed here", size="sm")
            lower_status = gr.HTML("", elem_id="closely-status", apply_default_css=False)
    lower = gr.HTML("", elem_id="comparison", apply_default_css=False)

    def arrive(request: gr.Request) -> tuple[int, int, float]:
        return addressed(request.query_params)

    async def show_grid(seed: Any, count: Any, truncation: Any, shown: Any, request: gr.Request) -> AsyncIterator[Any]:
        async for news, picture in draw_grid(desk, request, seed, count, truncation, shown):
            yield news, gr.skip() if picture is None else picture

    async def show_next(seed: Any, count: Any, truncation: Any, shown: Any, request: gr.Request) -> AsyncIterator[Any]:
        following = (int(seed) + 1) % MOST_SEED if isinstance(seed, int | float) else 0
        async for news, picture in draw_grid(desk, request, following, count, truncation, shown):
            yield following, news, gr.skip() if picture is None else picture

    async def choose(
        seed: Any, count: Any, truncation: Any, request: gr.Request, event: gr.EventData
    ) -> AsyncIterator[Any]:
        number = getattr(event, "number", None)
        async for news, picture in look_closely(desk, request, seed, count, truncation, number):
            yield news, gr.skip() if picture is None else picture, number

    async def show_search(
        seed: Any, count: Any, truncation: Any, number: Any, request: gr.Request
    ) -> AsyncIterator[Any]:
        async for news, picture in look_closely(desk, request, seed, count, truncation, number, everything=True):
            yield news, gr.skip() if picture is None else picture

    async def show_teacher(
        seed: Any, count: Any, truncation: Any, number: Any, budget: Any, request: gr.Request
    ) -> AsyncIterator[Any]:
        async for news, picture in compare_teacher(desk, request, seed, count, truncation, number, budget):
            yield news, gr.skip() if picture is None else picture

    async def show_walk(seed: Any, truncation: Any, number: Any, other: Any, request: gr.Request) -> AsyncIterator[Any]:
        async for news, picture in walk_between(desk, request, seed, truncation, number, other):
            yield news, gr.skip() if picture is None else picture

    async def stop(request: gr.Request) -> str:
        return await desk.cancel(desk.session(request), request.session_hash or "")

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    asked = [seed, count, truncation, shown]
    page.load(arrive, None, [seed, count, truncation], **quiet).then(show_grid, asked, [status, grid], **quiet)
    draw.click(show_grid, asked, [status, grid], trigger_mode="always_last", **quiet)
    shown.input(show_grid, asked, [status, grid], trigger_mode="always_last", **quiet)
    count.input(show_grid, asked, [status, grid], trigger_mode="always_last", **quiet)
    truncation.input(show_grid, asked, [status, grid], trigger_mode="always_last", **quiet)
    seed.submit(show_grid, asked, [status, grid], trigger_mode="always_last", **quiet)
    another.click(show_next, asked, [seed, status, grid], trigger_mode="once", **quiet)
    grid.click(choose, [seed, count, truncation], [lower_status, closely, chosen], trigger_mode="always_last", **quiet)
    search.click(show_search, [seed, count, truncation, chosen], [lower_status, closely], trigger_mode="once", **quiet)
    compare.click(
        show_teacher, [seed, count, truncation, chosen, budget], [lower_status, lower], trigger_mode="once", **quiet
    )
    walk.click(show_walk, [seed, truncation, chosen, other], [lower_status, lower], trigger_mode="once", **quiet)
    cancel.click(stop, None, lower_status, **quiet)


TILES = """
element.addEventListener("click", (event) => {
  const tile = event.target.closest("[data-number]");
  if (!tile) return;
  for (const other of element.querySelectorAll("[data-number]")) other.setAttribute("aria-pressed", other === tile);
  trigger("click", { number: Number(tile.dataset.number) });
});
"""

Updates = AsyncIterator[tuple[str, str | None]]
"""Pairs of a status line and, once there is one, a picture as HTML."""


async def draw_grid(desk: Desk, request: Any, seed: Any, count: Any, truncation: Any, shown: Any) -> Updates:
    """Draw a grid of the student's samples."""
    try:
        session = desk.session(request)
        grid = _wanted(seed, count, truncation)
        shown = one_of(shown, SHOWN, "Show")
        nearest, everything = shown in SHOWN[2:], shown == SHOWN[3]
        arguments: dict[str, Any] = {"seed": grid[0], "truncation": grid[2]}
        task = "nearest" if nearest else "grid"
        numbers = list(range(grid[1]))
        arguments |= {"numbers": numbers, "everything": everything} if nearest else {"count": grid[1]}
        async for job in desk.follow(session, task, page=request.session_hash, **arguments):
            if not job.over:
                yield desk.tell(job, "Searching the training set" if everything else "Drawing"), None
                continue
            answer = result_of(job)
            picture = pairs_html(session, answer) if nearest else grid_html(session, answer, shown)
            address = (
                f"<a href='?seed={grid[0]}&amp;count={grid[1]}&amp;truncation={grid[2]:g}'>Address of this grid</a>"
            )
            yield note(_described(*grid, answer["images"] if nearest else answer, job), more=address), picture
    except DataError as error:
        yield note(str(error), problem=True), None


async def look_closely(
    desk: Desk, request: Any, seed: Any, count: Any, truncation: Any, number: Any, *, everything: bool = False
) -> Updates:
    """Show one sample in the viewer, beside the measurement it is nearest to: of those kept, or of all."""
    try:
        session = desk.session(request)
        seed, _, truncation = _wanted(seed, count, truncation)
        if number is None:
            raise DataError("Choose a sample in the grid first.")
        number = whole(number, 0, 63, "The number of a sample")
        page = request.session_hash
        facts = await desk.run(session, "facts", page=page)
        if not everything and not facts["measurements"]:
            images = await desk.run(session, "grid", page=page, seed=seed, count=number + 1, truncation=truncation)
            panes, remark = sample_panes(session, images[number : number + 1], number), ""
        else:
            what = "Searching the training set" if everything else "Looking for the nearest measurement"
            arguments = {"seed": seed, "numbers": [number], "truncation": truncation, "everything": everything}
            async for job in desk.follow(session, "nearest", page=page, **arguments):
                if not job.over:
                    yield desk.tell(job, what), None
            answer = result_of(job)
            panes = sample_panes(session, answer["images"], number)
            panes.append(
                sample_pane(
                    session, magnitude(answer["measurements"]), "Nearest training measurement", answer["images"]
                )
            )
            remark = nearest_sentence(answer)
        frame = viewer_frame(panes, height=640)
        yield "", f'<h2 class="part">Sample {number}</h2>{frame}<p class="remark">{html.escape(remark)}</p>'
    except DataError as error:
        yield note(str(error), problem=True), None


async def compare_teacher(
    desk: Desk, request: Any, seed: Any, count: Any, truncation: Any, number: Any, budget: Any
) -> Updates:
    """Draw student and teacher from the same latents."""
    try:
        session = desk.session(request)
        seed, count, truncation = _wanted(seed, count, truncation)
        calls = one_of(budget, BUDGETS, "The number of network calls")
        first = 0 if number is None else whole(number, 0, 63, "The number of a sample")
        first = min(first, 64 - TEACHER_IMAGES)
        numbers = list(range(first, first + TEACHER_IMAGES))
        arguments = {"seed": seed, "numbers": numbers, "truncation": truncation, "calls": calls}
        async for job in desk.follow(session, "teacher", page=request.session_hash, **arguments):
            if not job.over:
                yield desk.tell(job, "The teacher draws"), None
        yield "", teacher_html(session, result_of(job), numbers)
    except DataError as error:
        yield note(str(error), problem=True), None


async def walk_between(desk: Desk, request: Any, seed: Any, truncation: Any, number: Any, other: Any) -> Updates:
    """Walk from one sample's latent to another's."""
    try:
        session = desk.session(request)
        seed, _, truncation = _wanted(seed, 64, truncation)
        if number is None:
            raise DataError("Choose a sample in the grid first: the walk begins there.")
        first, second = (whole(value, 0, 63, "The number of a sample") for value in (number, other))
        arguments = {"seed": seed, "first": first, "second": second, "truncation": truncation, "frames": FRAMES}
        async for job in desk.follow(session, "between", page=request.session_hash, **arguments):
            if not job.over:
                yield desk.tell(job, "Walking"), None
        images = result_of(job)
        labels = [f"{k / (FRAMES - 1):.0%} of the way from sample {first} to {second}" for k in range(FRAMES)]
        drawn = sheet(
            session,
            grey(images),
            name="Walk",
            labels=labels,
            numbers=range(FRAMES),
            captions=[f"{k / (FRAMES - 1):.0%}" for k in range(FRAMES)],
            columns=FRAMES,
        )
        yield (
            "",
            (
                f'<h2 class="part">From sample {first} to sample {second}</h2><p class="remark">Latents on the '
                f"sphere between them; coils and lines are those of sample {first}. A model that has learned shapes "
                f"changes them gradually; one that has memorised jumps.</p>{drawn}"
            ),
        )
    except DataError as error:
        yield note(str(error), problem=True), None


def addressed(query: Mapping[str, str]) -> tuple[int, int, float]:
    """Return seed, number of samples and truncation that an address holds; the usual ones in place of what is none."""
    wanted: list[Any] = [0, COUNTS[0], 1.0]
    readers: tuple[Callable[[str], Any], ...] = (
        lambda text: whole(text, 0, MOST_SEED, "The seed"),
        lambda text: one_of(whole(text, 0, 64, "The number"), COUNTS, "The number of samples"),
        lambda text: real(text, 0.5, 1.0, "The truncation"),
    )
    for place, (name, read) in enumerate(zip(("seed", "count", "truncation"), readers, strict=True)):
        with contextlib.suppress(DataError):
            wanted[place] = read(query.get(name, ""))
    return tuple(wanted)


def _wanted(seed: Any, count: Any, truncation: Any) -> tuple[int, int, float]:
    return (
        whole(seed, 0, MOST_SEED, "The seed"),
        one_of(count, COUNTS, "The number of samples"),
        real(truncation, 0.5, 1.0, "The truncation"),
    )


def _described(seed: int, count: int, truncation: float, images: np.ndarray, job: Any) -> str:
    height, width = images.shape[-2:]
    values = "magnitude 0 to 1.25 scales" if images.shape[1] == 2 else "values -1 to 1"
    return (
        f"Seed {seed}, samples 0 to {count - 1}, ψ = {truncation:g}; {width} × {height} pixels, one window for all "
        f"({values}). One network call for each image. The same numbers always draw the same images."
    )
