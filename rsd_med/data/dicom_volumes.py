"""Frames of DICOM files to volumes: by what their headers say, and by where they lie.

Contrast comes first: image type, echo, orientation and pixel size make a series of their own, b-value and temporal
position a volume. Acquisition, heart phase and direction of diffusion weighting are numbered slice by slice by some
scanners, so they only count where places occur several times, or where they make evenly spaced volumes of a stack that
is none.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from rsd_med.base.notices import say_once
from rsd_med.data.dicom_file import Frame
from rsd_med.data.orientation import slice_affine
from rsd_med.data.scan import Geometry
from rsd_med.data.tolerances import ANGLE, LENGTH, PLACE, even_step, group_numbers, group_vectors

Labels = np.ndarray
"""int64, (n,): the group of each of n frames."""


@dataclass(frozen=True)
class Stack:
    """Slices that lie on one another.

    Attributes
    ----------
    frames
        In the order of their places.
    step
        From one slice to the next, millimetres, LPS+, (3,); None where unknown, or where the slices do not lie at equal
        distances.
    """

    frames: tuple[Frame, ...]
    step: np.ndarray | None

    def geometry(self, cut: int) -> Geometry:
        """Return where a slice lies: with an affine but no distance across where the slices have none."""
        frame = self.frames[cut]
        if frame.spacing is None or frame.position is None or frame.orientation is None:
            return Geometry(None, frame.spacing)
        step: list[float] | float | None = None if self.step is None else self.step.tolist()
        if len(self.frames) == 1:
            step = frame.thickness
        down, across = frame.orientation[3:], frame.orientation[:3]
        affine = slice_affine(frame.position, down, across, frame.spacing, 1.0 if step is None else step)
        if affine is None or step is None:
            return Geometry(affine, frame.spacing)
        return Geometry(affine, (*frame.spacing, float(np.linalg.norm(affine[:3, 2]))))


def split_series(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames of one series of files, apart where size, contrast, orientation or pixel size differ.

    Parameters
    ----------
    frames
        In the order of their files, which the result keeps.
    """
    labels = np.stack(
        [
            _words([frame.shape for frame in frames]),
            _words([frame.image_type for frame in frames]),
            _sizes([frame.echo_time for frame in frames]),
            _vectors([frame.orientation for frame in frames], ANGLE),
            *(_sizes([frame.spacing[axis] if frame.spacing else None for frame in frames]) for axis in (0, 1)),
        ],
        axis=1,
    )
    groups: dict[tuple[int, ...], list[Frame]] = {}
    for frame, label in zip(frames, labels.tolist(), strict=True):
        groups.setdefault(tuple(label), []).append(frame)
    return list(groups.values())


def split_volumes(frames: Sequence[Frame], name: str) -> list[Stack]:
    """Return the volumes of frames that are alike in contrast, orientation and pixel size.

    Parameters
    ----------
    frames
        As :func:`split_series` returns them.
    name
        What to call them in warnings.
    """
    series = _Series(sorted(frames, key=lambda frame: frame.order), name)
    parts = [np.arange(len(frames))]
    for labels in series.contrasts():
        parts = [piece for part in parts for piece in series.split_by_contrast(part, labels)]
    for labels in series.repetitions():
        parts = [piece for part in parts for piece in series.split_by_repetition(part, labels)]
    return [series.stack(turn) for part in parts for turn in series.turns(part)]


class _Series:
    """The frames of a series in the order of acquisition, and where they lie; parts of it are arrays of their numbers.

    Parameters
    ----------
    frames
        In their order.
    name
        What to call them in warnings.
    """

    def __init__(self, frames: Sequence[Frame], name: str) -> None:
        self.frames, self.name = frames, name
        self.placed = all(frame.position is not None and frame.orientation is not None for frame in frames)
        self.positions = np.array([frame.position if self.placed else (0, 0, 0) for frame in frames], np.float64)
        # One normal for all: a thousandth in the direction of one slice is 0.2 mm at 200 mm from the centre.
        across, down = np.mean([frame.orientation or (0,) * 6 for frame in frames], axis=0).reshape(2, 3)
        normal = np.cross(across, down)
        self.placed = self.placed and float(np.linalg.norm(normal)) > 0.5
        spacing = frames[0].spacing
        self.pixel = 1.0 if spacing is None else min(spacing)
        self.heights = self.positions @ (normal / np.linalg.norm(normal)) if self.placed else np.zeros(len(frames))
        self.in_plane = self.positions @ np.stack([across, down], axis=1)
        self.places = group_numbers(self.heights, PLACE * self.pixel)

    def contrasts(self) -> list[Labels]:
        """Return what always makes volumes of their own."""
        return [
            _words([frame.stack for frame in self.frames]),
            _values([frame.time for frame in self.frames], 0.5),
            _values([frame.b_value for frame in self.frames], 1.0),
        ]

    def repetitions(self) -> list[Labels]:
        """Return what makes volumes where it explains why places occur several times."""
        return [
            group_vectors(self.in_plane, self.pixel),
            _values([frame.acquisition for frame in self.frames], 0.5),
            _values([frame.trigger for frame in self.frames], 1.0),
            _vectors([frame.gradient for frame in self.frames], ANGLE),
        ]

    def split_by_contrast(self, part: Labels, labels: Labels) -> list[Labels]:
        """Return the pieces of a part, unless its frames are only numbered, slice by slice."""
        pieces = _pieces(part, labels)
        numbered = len(pieces) == len(part) > 1 and (not self.placed or self.is_stack(part))
        return [part] if numbered else pieces

    def split_by_repetition(self, part: Labels, labels: Labels) -> list[Labels]:
        """Return the pieces of a part where they are volumes more than it is, else the part."""
        pieces = _pieces(part, labels)
        if not self.placed or len(pieces) == 1 or self.is_stack(part):
            return [part]
        most = self.most(part)
        if most > 1:
            explained = len(pieces) <= most and max(self.most(piece) for piece in pieces) < most
        else:
            explained = all(len(piece) > 1 and self.is_stack(piece) for piece in pieces)
        return pieces if explained else [part]

    def turns(self, part: Labels) -> list[Labels]:
        """Return volumes in which no place occurs twice: every place's first frame, every place's second, ..."""
        counts = np.unique(self.places[part], return_counts=True)[1]
        most = int(counts.max())
        if not self.placed or most == 1:
            return [part]
        if counts.min() < most:
            runs = self.runs(part)
            how = "by the order of acquisition" if len(runs) == most else "by turns, and may be mixed"
            say_once(
                f"DICOM {self.name}: some places occur more often than others and the headers do not say why; its "
                f"volumes are told apart {how}."
            )
            if len(runs) == most:
                return runs
        seen: Counter[int] = Counter()
        volumes: list[list[int]] = [[] for _ in range(most)]
        for number in sorted(part, key=lambda number: self.turn(int(number))):
            place = int(self.places[number])
            volumes[seen[place]].append(int(number))
            seen[place] += 1
        return [np.array(volume) for volume in volumes]

    def turn(self, number: int) -> tuple[float, ...]:
        """Return what frames of one place are ordered by."""
        frame = self.frames[number]
        return (frame.acquisition or 0.0, frame.trigger or 0.0, *frame.order)

    def runs(self, part: Labels) -> list[Labels]:
        """Return the frames in their order, cut wherever a place comes again."""
        runs: list[list[int]] = []
        places: set[int] = set()
        for number in part:
            place = int(self.places[number])
            if not runs or place in places:
                runs.append([])
                places = set()
            runs[-1].append(int(number))
            places.add(place)
        return [np.array(run) for run in runs]

    def most(self, part: Labels) -> int:
        """Return how often the place occurs that occurs most often."""
        return int(np.unique(self.places[part], return_counts=True)[1].max())

    def is_stack(self, part: Labels) -> bool:
        """Whether no place occurs twice and all lie at equal distances."""
        return self.most(part) == 1 and (len(part) == 1 or self.step(part) is not None)

    def step(self, part: Labels) -> np.ndarray | None:
        """Return the way from each slice to the next above it; None where it is not the same."""
        return even_step(self.positions[part[np.argsort(self.heights[part])]])

    def stack(self, part: Labels) -> Stack:
        """Return the volume of a part, its slices in the order of their places."""
        if self.placed:
            part = part[np.argsort(self.heights[part], kind="stable")]
        step = self.step(part) if self.placed and len(part) > 1 else None
        if self.placed and len(part) > 1 and step is None:
            say_once(
                f"DICOM {self.name}: {len(part)} slices do not lie at equal distances on a line (one is missing, or "
                "does not belong): the distance between them counts as unknown."
            )
        return Stack(tuple(self.frames[number] for number in part), step)


def _pieces(part: Labels, labels: Labels) -> list[Labels]:
    return [part[labels[part] == label] for label in np.unique(labels[part])]


def _words(values: Sequence[Hashable]) -> Labels:
    """Return groups of equal values, in the order of the first of each."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values])


def _values(values: Sequence[float | None], tolerance: float) -> Labels:
    """Return groups of numbers; what is missing is a group of its own, the first."""
    known = np.array([value is not None for value in values])
    labels = np.full(len(values), -1)
    labels[known] = group_numbers(np.array([value for value in values if value is not None]), tolerance)
    return labels


def _sizes(values: Sequence[float | None]) -> Labels:
    """Return groups of positive numbers that are the same but for a hundredth."""
    return _values([None if value is None else float(np.log(max(value, 1e-3))) for value in values], LENGTH)


def _vectors(values: Sequence[tuple[float, ...] | None], tolerance: float) -> Labels:
    """Return groups of vectors; what is missing is a group of its own."""
    known = np.array([value is not None for value in values])
    labels = np.full(len(values), -1)
    if known.any():
        labels[known] = group_vectors(np.array([value for value in values if value is not None]), tolerance)
    return labels
