"""What is done with a scan: open it, measure a slice, run methods on it; the case is told of every step."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np

from rsd_med.base.errors import DataError

from ..compute.jobs import Job
from ..compute.methods import TITLES
from ..compute.parsing import read_item, read_stack
from ..page.desk import Desk, result_of
from ..web.artefacts import Item
from ..web.session import Session
from ..web.stored import add_file, add_stack, add_volume, read_volume
from ..web.uploads import uploaded_path
from .cases import AS_MEASURED, NOTHING_DONE, SPREAD, Case, open_case, speed_of

MOST_ITEMS = 4
"""Slices that stay as they were read, in a session."""
EXAMPLES = 8
"""Held-out examples that are offered."""


class StaleError(Exception):
    """Something newer was asked for: what this brings is not wanted any more."""


async def open_upload(session: Session, upload: str, item: int | None) -> Case:
    """Read an upload as a volume; its picture is there at once.

    Parameters
    ----------
    session
        Whose upload.
    upload
        Its id.
    item
        Any slice of the volume that is wanted, counted from 0 through the file; None: the middle one.

    Raises
    ------
    DataError
        When it cannot be read, or the session is full.
    """
    path, out = uploaded_path(session, upload), session.new_path(".npy")
    stack = await asyncio.to_thread(read_stack, path, out, item)
    title = f"Scan {session.numbers.setdefault(upload, len(session.numbers) + 1)}"
    if stack["volumes"] > 1:
        title += f", volume {stack['volume'] + 1} of {stack['volumes']}"
    affine = None if stack["affine"] is None else np.asarray(stack["affine"])
    measured = add_stack(
        session,
        out,
        title=f"{title} · as {'sent' if stack['kind'] == 'picture' else 'measured'}",
        unit=stack["unit"],
        window=tuple(stack["window"]),
        affine=pane_affine(affine),
        spacing=pane_spacing(stack["spacing_mm"]),
    )
    return open_case(session, upload, title, stack, measured)


async def open_example(desk: Desk, session: Session, number: int) -> Case:
    """Open a held-out example of the run; DataError when the run has none."""
    if number == 0:
        answer = await desk.first_case(session)
    else:
        answer = await desk.run(session, "read", scan=number, acceleration=None)
    image, title = answer.pop("images")["zero_filled"], f"Held-out example {number + 1}"
    stack = {"kind": "scan", "count": 1, "first": 0, "index": 0, "total": 1, "volumes": 1, "volume": 0}
    stack |= {"shape": list(image.shape), "notices": [], "oriented": answer["affine"] is not None, "spacing_mm": None}
    measured = add_volume(
        session,
        image,
        title=f"{title} · as measured",
        unit="a.u.",
        window=(0.0, max(1e-6, float(np.quantile(image, 0.995)))),
        affine=pane_affine(answer["affine"]),
        spacing=pane_spacing(answer["spacing"]),
    )
    case = open_case(session, number, title, stack, measured)
    case.read = answer
    return case


class Work:
    """One request for one scan, which a later one replaces.

    Parameters
    ----------
    desk, session, case
        Where, whose, and on what.
    acceleration
        One of ``ACCELERATIONS``.
    """

    def __init__(self, desk: Desk, session: Session, case: Case, acceleration: str) -> None:
        self.desk, self.session, self.case, self.acceleration = desk, session, case, acceleration
        case.turn += 1
        self.turn = case.turn
        case.changed(busy="Reading …", progress=None, problem="")

    async def do(self, slices: Sequence[int], methods: Sequence[str], samples: int) -> None:
        """Measure slices and run methods on each; whatever goes wrong is told in a sentence."""
        try:
            for number in slices:
                facts = await self._measure(number)
                for method in methods:
                    if (number, self.acceleration, method) not in self.case.results:
                        await self._run(number, facts, method, samples)
            self._tell(busy="", progress=None)
        except StaleError:
            pass
        except DataError as error:
            if self.case.turn == self.turn:
                self.case.changed(busy="", progress=None, problem=str(error))

    async def _measure(self, number: int) -> dict[str, Any]:
        case, key = self.case, (number, self.acceleration)
        if key not in case.facts:
            self._tell(busy=f"Measuring noise, coils and scale{self._of(number)}")
            answer = await self._follow("read", **await self._asked(number))
            images = answer.pop("images")
            case.facts[key] = answer
            if self.acceleration != AS_MEASURED:
                case.put(self.session, number, self.acceleration, NOTHING_DONE, images["zero_filled"])
            case.changed()
        return case.facts[key]

    async def _run(self, number: int, facts: dict[str, Any], method: str, samples: int) -> None:
        case, title = self.case, TITLES[method]
        needs = facts["asks"][method]
        if needs and needs not in facts["learned"]:
            return
        self._tell(busy=f"{title}{self._of(number)}")
        asked = await self._asked(number)
        answer = await self._follow(
            "reconstruct",
            **asked,
            method=method,
            samples=samples,
            window=case.measured.window,
            name=file_name(case, f"slice {number + 1}", self.acceleration, method),
            title=case.label(number, self.acceleration, title),
            folder=str(self.session.new_path()),
        )
        images = answer.pop("images")
        case.put(self.session, number, self.acceleration, method, images["result"])
        if "uncertainty" in images:
            case.put(self.session, number, self.acceleration, method + SPREAD, images["uncertainty"])
        files = {name: add_file(self.session, Path(path), name) for name, path in answer["files"].items()}
        case.results[number, self.acceleration, method] = answer | {"files": files}
        case.changed()

    async def _follow(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Do a job; its progress is told, and its result is taken only if nothing newer was asked for."""
        async with aclosing(self.desk.follow(self.session, task, **arguments)) as jobs:
            async for job in jobs:
                self._tell(**({} if job.over else _progress(self.desk, job)))
        answer: dict[str, Any] = dict(result_of(job))
        return answer

    def _tell(self, **news: Any) -> None:
        if self.case.turn != self.turn or self.session.ended:
            raise StaleError
        if news:
            self.case.changed(**news)

    def _of(self, number: int) -> str:
        return f", slice {number + 1}" if self.case.count > 1 else ""

    async def _asked(self, number: int) -> dict[str, Any]:
        """Return which scan the worker is to take, and by how much it is undersampled."""
        case, acceleration = self.case, None if self.acceleration == AS_MEASURED else float(self.acceleration)
        if isinstance(case.source, int):
            return {"scan": case.source, "acceleration": acceleration}
        index = int(case.stack["first"]) + number
        item = await asyncio.to_thread(read_slice, self.session, case.source, index)
        if acceleration is not None and item.facts.get("gaps"):
            raise DataError(
                f"This scan is undersampled already ({item.facts['acceleration']:.1f}-fold): choose {AS_MEASURED}."
            )
        return {"scan": str(item.path), "acceleration": acceleration}


def read_slice(session: Session, upload: str, index: int) -> Item:
    """Return what the child process has read of a slice, once however often it is asked for; DataError if it cannot."""
    path = uploaded_path(session, upload)
    # Further files of a series may follow its first.
    key = upload, index, len(list(path.iterdir())) if path.is_dir() else 1
    with session.reading:
        if key not in session.items:
            out = session.new_path(".npz")
            session.items[key] = Item(out, read_item(path, out, index))
        session.items.move_to_end(key)
        while len(session.items) > MOST_ITEMS:
            session.items.popitem(last=False)[1].path.unlink(missing_ok=True)
        return session.items[key]


def whole_volume(session: Session, case: Case, acceleration: str, method: str) -> str:
    """Return the id of a method's images of all slices as one NIfTI file, in the file's values and geometry.

    It is written once, however often it is asked for.

    Raises
    ------
    DataError
        When a slice was not made yet.
    """
    from rsd_med.data.scan import Geometry
    from rsd_med.data.writing.nifti import write_nifti

    if not case.whole(acceleration, method):
        raise DataError("Not every slice was made yet: press All slices first.")
    with session.reading:
        if (acceleration, method) not in case.whole_files:
            path, affine, spacing = session.new_path(".nii.gz"), case.stack["affine"], case.stack["spacing_mm"]
            geometry = Geometry(None if affine is None else np.asarray(affine), spacing and tuple(spacing))
            write_nifti(path, read_volume(session, case.volumes[acceleration, method].artefact), geometry)
            name = f"{file_name(case, 'whole volume', acceleration, method)}.nii.gz"
            case.whole_files[acceleration, method] = add_file(session, path, name)
        return case.whole_files[acceleration, method]


def file_name(case: Case, part: str, acceleration: str, method: str) -> str:
    """Return what the files of a result are called: scan, slice, acceleration, method, in letters of any system."""
    words = f"{case.title} {part} {speed_of(acceleration)} {method}"
    return "".join(letter if letter.isalnum() or letter == "_" else "-" for letter in words).replace("--", "-").lower()


def _progress(desk: Desk, job: Job) -> dict[str, Any]:
    if job.state == "waiting":
        ahead = desk.queue.ahead_of(job)
        return {"busy": f"Waiting for {ahead} other request{'s' if ahead != 1 else ''}", "progress": None}
    return {"progress": job.progress}


def pane_affine(affine: Any) -> np.ndarray | None:
    """Turn an affine of (y, x, slice) into one of (x, y, z)."""
    return None if affine is None else np.asarray(affine)[:, [1, 0, 2, 3]]


def pane_spacing(spacing: Any) -> tuple[float, float, float] | None:
    """Turn a spacing of (y, x[, slice]) into one of (z, y, x)."""
    if spacing is None:
        return None
    y, x, *z = spacing
    return (float(z[0]) if z else 1.0, float(y), float(x))
