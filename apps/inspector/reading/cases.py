"""A scan that somebody works on: what was read of it, what was made of which slice, and what is going on with it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rsd_med.base.errors import DataError

from ..compute.first_look import SPEEDS
from ..compute.methods import TITLES
from ..web.artefacts import Kind, Pane
from ..web.session import Session, new_id
from ..web.stored import add_volume

AS_MEASURED = "As measured"
ACCELERATIONS = (AS_MEASURED, *(f"{speed:g}" for speed in SPEEDS))
MOST_CASES = 8
"""Scans that stay open in a session; the one not used for longest is closed first."""
NOTHING_DONE = "zero_filled"
"""The method that does nothing: always shown beside the others, never asked for."""
SPREAD = ":spread"
"""What the name of a method's standard deviation ends with."""


@dataclass
class Case:
    """An open scan.

    Attributes
    ----------
    id
        Opaque.
    title
        What it is called everywhere: ``Scan 2``, ``Held-out example 1``. Never the name of a file, which may be a
        patient's; the browser that sent it writes its own name for it beside this.
    source
        Number of an example, or id of an upload.
    stack
        What was read of it as a volume; see ``parsing.read_stack``.
    measured
        The volume as it was sent.
    read
        What was found in it when it was opened, where that was done at once; see ``facts``.
    volumes
        What was made, by acceleration and part (a method, or a method's spread): as many slices as the scan has, NaN
        where nothing was made yet.
    facts
        What was found in a slice, by slice from 0 and acceleration.
    results
        What methods found, by slice, acceleration and method, in plain values and without images.
    whole_files
        Ids of the files of whole volumes, by acceleration and method.
    version
        Grows with every change.
    busy, progress, problem
        What is being done, how far it is (0 to 1), and what went wrong, in one sentence.
    turn
        Grows with every request: what an earlier one still brings is not taken.
    """

    id: str
    title: str
    source: int | str
    stack: dict[str, Any]
    measured: Pane
    read: dict[str, Any] | None = None
    volumes: dict[tuple[str, str], Pane] = field(default_factory=dict)
    facts: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    results: dict[tuple[int, str, str], dict[str, Any]] = field(default_factory=dict)
    whole_files: dict[tuple[str, str], str] = field(default_factory=dict)
    version: int = 1
    busy: str = ""
    progress: float | None = None
    problem: str = ""
    turn: int = 0

    @property
    def count(self) -> int:
        """Number of slices."""
        return int(self.stack["count"])

    def changed(self, **news: Any) -> None:
        """Set attributes and note that something has changed."""
        for name, value in news.items():
            setattr(self, name, value)
        self.version += 1

    def label(self, slice_number: int, acceleration: str, what: str) -> str:
        """Say which scan, slice, acceleration and method: what stands over pictures and in exports."""
        return f"{self.title}, slice {slice_number + 1} of {self.count}, {speed_of(acceleration)}, {what}"

    def panes(self, acceleration: str) -> Iterator[Pane]:
        """Yield what there is to look at for an acceleration: the scan as measured, and what was made of it."""
        yield self.measured
        for name in TITLES:
            for part in (name, name + SPREAD):
                if (acceleration, part) in self.volumes:
                    yield self.volumes[acceleration, part]

    def put(self, session: Session, slice_number: int, acceleration: str, part: str, image: np.ndarray) -> None:
        """Put an image into its place in the volume of its kind, which is made when its first slice comes.

        Raises
        ------
        DataError
            When the image is not of the size of the scan, or the session is full.
        """
        rows, columns = self.stack["shape"]
        shape = (self.count, int(rows), int(columns))
        if image.shape != shape[1:]:
            raise DataError("This image is not of the size of its scan; please report it.")
        if (acceleration, part) not in self.volumes:
            self.volumes[acceleration, part] = self._new_volume(session, shape, acceleration, part, image)
        path = session.artefacts[self.volumes[acceleration, part].artefact].path
        volume = np.load(path, mmap_mode="r+", allow_pickle=False)
        volume[slice_number] = image
        volume.flush()

    def _new_volume(
        self, session: Session, shape: tuple[int, ...], acceleration: str, part: str, image: np.ndarray
    ) -> Pane:
        method, _, spread = part.partition(":")
        what = TITLES[method]
        kind: Kind = "uncertainty" if spread else "grey"
        window = (0.0, max(1e-6, float(np.nanquantile(image, 0.999)))) if spread else self.measured.window
        return add_volume(
            session,
            np.full(shape, np.nan, np.float32),
            title=f"{self.title} · {speed_of(acceleration)} · {'Standard deviation of ' if spread else ''}{what}",
            unit=self.measured.unit,
            window=window,
            affine=None if self.measured.affine is None else np.asarray(self.measured.affine),
            spacing=self.measured.spacing,
            kind=kind,
        )

    def whole(self, acceleration: str, method: str) -> bool:
        """Whether a method's image of every slice is there."""
        return all((number, acceleration, method) in self.results for number in range(self.count))

    def close(self, session: Session) -> None:
        """Drop everything of it but the upload; what is still being made of it is not taken."""
        self.turn += 1
        for pane in (self.measured, *self.volumes.values()):
            session.forget(pane.artefact)
        for files in [result["files"] for result in self.results.values()] + [self.whole_files]:
            for artefact in files.values():
                session.forget(artefact)


def speed_of(acceleration: str) -> str:
    """Return an acceleration in words."""
    return "as measured" if acceleration == AS_MEASURED else f"R {acceleration}"


def cases_of(session: Session) -> dict[str, Case]:
    """Return the open scans of a session by id, the one used last at the end."""
    return session.cases


def case_of(session: Session, name: Any) -> Case:
    """Return an open scan of a session; DataError where it has none of that name."""
    case = cases_of(session).get(name) if isinstance(name, str) else None
    if case is None:
        raise DataError("That scan is closed; choose its file again.")
    return case


def open_case(session: Session, source: int | str, title: str, stack: dict[str, Any], measured: Pane) -> Case:
    """Keep a scan that has been read; the one not used for longest makes room."""
    cases = cases_of(session)
    while len(cases) >= MOST_CASES:
        cases.pop(next(iter(cases))).close(session)
    case = Case(new_id(), title, source, stack, measured)
    cases[case.id] = case
    return case


def use(session: Session, case: Case) -> None:
    """Note that a scan is being worked on."""
    cases = cases_of(session)
    cases[case.id] = cases.pop(case.id, case)
