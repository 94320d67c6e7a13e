"""The pictures of the report: student, reference and teacher large and side by side, at one window and one size."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from rsd_med.reporting.markup import Markup, tag
from rsd_med.reporting.numbers import compact, significant, whole
from rsd_med.reporting.pictures import (
    GRID_COLUMNS,
    Layout,
    choose_layout,
    clipped_share,
    crop_grid,
    enlarge,
    magnification,
    png_uri,
    ramp,
    sheet,
)
from rsd_med.reporting.record import RunRecord, mapping, model_title, number
from rsd_med.reporting.verdict import best_teacher
from rsd_med.runs.grids import to_grey_levels

PAGE = 1232
"""CSS pixels across the page at its widest."""

SPACE = 16
"""CSS pixels between panels."""

STRIP_SPACE = 8
"""CSS pixels between the frames of a strip."""

LARGE = 3
"""Panels of the first row: the student, clean images, the teacher."""

SMALL = 2
"""Panels of a row of what else there is: each a single row of images."""

THUMBNAIL = 145
"""CSS pixels across, at least, of an image in such a row."""

MOST_THUMBNAILS = 8

STRIP_FRAMES = 6

MAX_SHEET_PIXELS = 600_000
"""Pixels of each of the larger sheets, so that the report stays easy to pass on."""


def pictures_section(record: RunRecord) -> Markup:
    """Show what was learned beside clean images, then what it was learned from."""
    names = _order(record)
    if not names:
        body = [tag("p", "No pictures have been saved yet.", class_="missing")]
    else:
        large, small = names[:LARGE], names[LARGE:]
        body = [_panels(record, large, LARGE, "large"), *_remarks(record, names), _window(record)]
        if small:
            body += [tag("h3", _rest_title(small)), _panels(record, small, min(SMALL, len(small)), "small")]
        body.append(_more(record, names))
    strips = [strip for stage in ("student", "teacher") if (strip := _strip(record, stage)) is not None]
    return tag(
        "section", tag("h2", "Pictures", id="pictures"), *body, *strips, class_="pictures", aria_labelledby="pictures"
    )


def _order(record: RunRecord) -> list[str]:
    """Return what is shown, the most telling first: the student, clean images, the teacher's best sampler."""
    teachers = [name for name in record.gallery if name.startswith("teacher.")]
    best = best_teacher(record.models(), "fd") or best_teacher(record.models(), "proximal_fd")
    first = [name for name in teachers if best is not None and name == f"teacher.{best[0]}"]
    others = [name for name in teachers if name not in first]
    return [name for name in ("student", "reference", *first, "measurements", *others) if name in record.gallery]


def _rest_title(names: Sequence[str]) -> str:
    learned = "What it was learned from" if "measurements" in names else ""
    samplers = "the teacher’s other samplers" if any(name.startswith("teacher") for name in names) else ""
    title = ", and ".join(part for part in (learned, samplers) if part) or "More"
    return title[0].upper() + title[1:]


def _natural(images: Tensor) -> bool:
    return images.shape[1] != 2


def _window(record: RunRecord) -> Markup:
    natural = _natural(next(iter(record.gallery.values())))
    levels, (low, high) = ramp(natural)
    what = "pixel value" if natural else "magnitude, in units of each scan’s scale"
    steps = [low, (low + high) / 2, high]
    scale = tag("img", src=png_uri(levels), width=256, height=14, alt="", class_="scale")
    ticks = tag("span", *(tag("span", compact(step)) for step in steps), class_="ticks")
    bar = tag("span", scale, ticks, class_="bar")
    sentence = f"One window for all pictures: {compact(low)} is black, {compact(high)} is white ({what})."
    return tag("div", tag("p", sentence), bar, class_="window")


def _panels(record: RunRecord, names: Sequence[str], per_row: int, kind: str) -> Markup:
    height, width = (max(record.gallery[name].shape[side] for name in names) for side in (2, 3))
    # Chosen by the largest images for all: one magnification.
    if kind == "large":
        layout = choose_layout(width, height, _place(per_row))
    else:
        columns = choose_layout(width, height, _place(per_row), THUMBNAIL, MOST_THUMBNAILS).columns
        layout = Layout(columns, 1, magnification(columns, width, _place(per_row)))
    panels = [_panel(record, name, layout) for name in names]
    style = f"--across: {per_row}; --panel: {_place(per_row)}px"
    return tag("div", *panels, class_=f"panels {kind}", style=style)


def _place(per_row: int) -> int:
    return (PAGE - (per_row - 1) * SPACE) // per_row


def _panel(record: RunRecord, name: str, layout: Layout) -> Markup:
    images = record.gallery[name]
    count = min(layout.columns * layout.rows, len(images))
    shown = tag("b", model_title(name))
    caption = tag("figcaption", shown, tag("span", _explain(record, name)), _figures(record, name))
    picture = _picture(to_grey_levels(images[:count]), layout, f"{_alt(name)}, {count} images")
    return tag("figure", picture, caption)


def _picture(levels: np.ndarray, layout: Layout, alt: str) -> Markup:
    shown = sheet(enlarge(levels, layout.magnification), layout.columns)
    height, width = shown.shape[:2]
    return tag("img", src=png_uri(shown), alt=alt, width=width, height=height)


def _alt(name: str) -> str:
    words = {"measurements": "Measurements seen as images", "reference": "Clean reference images"}
    return words.get(name, f"Samples of the {model_title(name).lower()}")


def _explain(record: RunRecord, name: str) -> str:
    if name == "reference":
        return "clean images, for evaluation alone"
    if name == "measurements":
        return {
            "multicoil_fourier": "what was measured, zero-filled",
            "noise": "what was measured, with its noise",
            "none": "what was measured",
        }.get(str(mapping(record.protocol, "corruption").get("kind")), "what was measured, seen as images")
    calls = number(record.models().get(name, {}), "network_calls")
    if calls is None:
        return "samples"
    return f"samples, {whole(calls)} network call{'' if calls == 1 else 's'} each"


def _figures(record: RunRecord, name: str) -> Markup | None:
    figures = record.models().get(name, {})
    if name == "reference":
        floor = number(record.floor, "fd")
        words = f"Fréchet distance {significant(floor)} from other real images"
        return None if floor is None else tag("span", words, class_="figure")
    for key, label in (("fd", "Fréchet distance"), ("proximal_fd", "proximal Fréchet distance")):
        value = number(figures, key)
        if value is not None:
            return tag("span", f"{label} {significant(value)}", class_="figure")
    return None


def _remarks(record: RunRecord, names: Sequence[str]) -> list[Markup]:
    sentences = ["Enlarged by cubic interpolation."]
    models = [name for name in names if name.startswith(("teacher", "student"))]
    if len(models) > 1:
        sentences.append("Teacher and student start from the same noise, so their samples pair up, place by place.")
    if {"measurements", "reference"} & set(names) and models:
        sentences.append("Samples are not reconstructions: no measurement or reference belongs to any of them.")
    brighter = {name: share for name in names if (share := clipped_share(record.gallery[name])) >= 0.001}
    if brighter:
        listed = ", ".join(f"{model_title(name).lower()} {share:.1%}" for name, share in brighter.items())
        sentences.append(f"Share of values beyond the window: {listed}.")
    if not _natural(record.gallery[names[0]]):
        sentences.append("Rows and columns as stored; no patient orientation is claimed.")
    if "student" not in names:
        sentences.append("There are no samples of a student yet.")
    if "reference" not in names:
        sentences.append("The run has no clean reference images to show.")
    return [tag("p", " ".join(sentences), class_="remark")]


def _more(record: RunRecord, names: Sequence[str]) -> Markup:
    """Show many images of each, stored as they are and enlarged by the browser: the report stays easy to pass on."""
    sheets = []
    for name in names:
        images = record.gallery[name]
        count = max(1, min(len(images), MAX_SHEET_PIXELS // images[0, 0].numel()))
        laid = sheet(to_grey_levels(images[:count]), min(GRID_COLUMNS, count))
        height, width = laid.shape[:2]
        shown = round(height * _place(2) / width)
        alt = f"{_alt(name)}, {count} images"
        picture = tag("img", src=png_uri(laid), alt=alt, width=_place(2), height=shown)
        caption = tag("figcaption", tag("b", model_title(name)), tag("span", f"{count} images"))
        sheets.append(tag("figure", picture, caption))
    inside = tag("div", *sheets, class_="panels", style=f"--across: 2; --panel: {_place(2)}px")
    return tag("details", tag("summary", "More images of each"), inside)


def _strip(record: RunRecord, stage: str) -> Markup | None:
    grids = record.grids.get(stage, {})
    if not grids or not record.gallery:
        return None
    height, width = next(iter(record.gallery.values())).shape[2:]
    width_of_frame = (PAGE - (STRIP_FRAMES - 1) * STRIP_SPACE) // STRIP_FRAMES
    layout = choose_layout(width, height, width_of_frame, least=90)
    chosen = record.chosen() if stage == "student" else None
    chosen_images = int(chosen[0]) if chosen else None
    frames = []
    for images in pick(sorted(grids), STRIP_FRAMES, chosen_images):
        levels = crop_grid(grids[images], (height, width), layout.columns, layout.rows)
        if levels is not None:
            frames.append(_frame(levels, layout, stage, images, images == chosen_images))
    if not frames:
        return None
    heading = tag("h3", f"The {stage} while it learns")
    note = tag("p", "Always from the same noise, at the same window.", class_="remark")
    return tag("div", heading, note, tag("div", *frames, class_="strip", style=f"--frame: {width_of_frame}px"))


def _frame(levels: np.ndarray, layout: Layout, stage: str, images: int, chosen: bool) -> Markup:
    picture = _picture(levels, layout, f"Samples of the {stage} after {whole(images)} images")
    label = f"{compact(images)} images" + (", chosen" if chosen else "")
    return tag("figure", picture, tag("figcaption", tag("span", label)), class_="chosen" if chosen else None)


def pick(counts: Sequence[int], most: int, needed: int | None = None) -> list[int]:
    """Pick the first, the last and evenly spread others of ``counts``, and ``needed`` where it is among them."""
    if len(counts) <= most:
        return list(counts)
    places = {round(i * (len(counts) - 1) / (most - 1)) for i in range(most)}
    if needed in counts and counts.index(needed) not in places:
        at = counts.index(needed)
        inner = sorted(places - {0, len(counts) - 1}, key=lambda place: abs(place - at))
        places = places - set(inner[:1]) | {at}
    return [counts[place] for place in sorted(places)]
