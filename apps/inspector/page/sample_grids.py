"""Samples as HTML and as panes: the grid, pairs with the nearest measurement, teacher beside student."""

from typing import Any

import numpy as np

from rsd_med.base.errors import DataError

from ..web.artefacts import Pane
from ..web.session import Session
from ..web.stored import add_volume
from .sheets import grey, magnitude, phase, sheet, window_of


def nearest_sentence(answer: dict[str, Any]) -> str:
    """Say what was searched, and how near the nearest is."""
    distance = float(answer["distance"][0])
    which = (
        f"The nearest of all {answer['searched']:,} training measurements (number {int(answer['index'][0])})"
        if answer["everything"]
        else f"The nearest of the {answer['searched']} training measurements kept with the run"
    )
    more = "" if answer["everything"] else " The others are searched with the button below."
    return (
        f"{which} differs by {distance:.0%} once the sample is seen through its coils and lines: 0 % would be a copy, "
        f"near 100 % has nothing in common.{more}"
    )


def grid_html(session: Session, images: np.ndarray, shown: str) -> str:
    """Return a grid of samples; DataError for the phase of images that have none."""
    if shown == "Phase" and images.shape[1] != 2:
        raise DataError("These images are real: they have no phase.")
    count = len(images)
    return sheet(
        session,
        grey(images, "phase" if shown == "Phase" else "magnitude"),
        name=f"{count} samples",
        labels=[f"Sample {k}" for k in range(count)],
        numbers=range(count),
        columns=int(np.sqrt(count)),
    )


def pairs_html(session: Session, answer: dict[str, Any]) -> str:
    """Return a grid of samples, each beside its nearest training measurement."""
    pairs = np.concatenate([grey(answer["images"]), grey(answer["measurements"])], axis=2)
    count = len(pairs)
    usual = float(np.median(answer["distance"]))
    remark = (
        '<p class="remark">Each sample on the left, the training measurement it is nearest to on the right, as the '
        f"scanner saw it (aliased, incomplete). Searched: {_searched(answer)}. Usual distance here: {usual:.0%}.</p>"
    )
    return remark + sheet(
        session,
        pairs,
        name=f"{count} samples, each beside its nearest training measurement",
        labels=[f"Sample {k}, nearest measurement differs by {d:.0%}" for k, d in enumerate(answer["distance"])],
        numbers=range(count),
        captions=[f"{k}: {d:.0%}" for k, d in enumerate(answer["distance"])],
        columns=max(2, int(np.sqrt(count)) // 2 + 1),
    )


def _searched(answer: dict[str, Any]) -> str:
    count = answer["searched"]
    return f"all {count:,} training measurements" if answer["everything"] else f"the {count} kept with the run"


def teacher_html(session: Session, answer: dict[str, Any], numbers: list[int]) -> str:
    """Return student's and teacher's samples from the same latents, one row each."""
    rows = []
    for who, calls in (("Student", 1), ("Teacher", answer["calls"])):
        images = answer[who.lower()]
        seconds = answer[f"{who.lower()}_seconds"]
        rows.append(
            f"<h3>{who}: {calls} network call{'s' if calls > 1 else ''} for each image, "
            f"{1000 * seconds / len(images):.0f} ms each</h3>"
            + sheet(
                session,
                grey(images),
                name=f"{who}, samples {numbers[0]} to {numbers[-1]}",
                labels=[f"{who}, sample {number}" for number in numbers],
                numbers=numbers,
                columns=len(numbers),
            )
        )
    return (
        '<h2 class="part">Teacher beside student, from the same latents</h2>'
        + "".join(rows)
        + '<p class="remark">One window for both. The times are of this machine, now.</p>'
    )


def sample_panes(session: Session, images: np.ndarray, number: int) -> list[Pane]:
    """Return a sample for the viewer: magnitude and, of complex images, phase."""
    panes = [sample_pane(session, magnitude(images), f"Sample {number}", images)]
    if images.shape[1] == 2:
        panes.append(
            add_volume(
                session, phase(images), title=f"Phase of sample {number}", unit="rad", window=window_of(images, "phase")
            )
        )
    return panes


def sample_pane(session: Session, values: np.ndarray, title: str, images: np.ndarray) -> Pane:
    """Return one image for the viewer, at the fixed window of its units."""
    unit = "scales" if images.shape[1] == 2 else "of range"
    return add_volume(session, values, title=title, unit=unit, window=window_of(images))
