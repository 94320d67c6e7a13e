"""The one interface of every reader."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from pathlib import Path

import numpy as np
from torch import Tensor

from rsd_med.base.settings import KindSettings
from rsd_med.data.scan import Picture, Scan


class SourceSettings(KindSettings):
    """Where scans or pictures are read from."""

    @abstractmethod
    def build(self, base_dir: Path | None = None, seed: int = 0) -> "Source":
        """Return the source; at most an index of its files is read.

        Parameters
        ----------
        base_dir
            Folder that a relative path starts from; None: the working directory.
        seed
            Of the run, for sources that simulate.

        Raises
        ------
        DataError
            If the files are missing or cannot be used.
        """


@dataclass(frozen=True)
class Target:
    """The image that a file itself says figures are measured against; training never reads it.

    Attributes
    ----------
    image
        Magnitude, float32, (y, x): of the reconstructed matrix, in the units of the file.
    peak
        Largest value of the whole volume, the data range of figures; None where the file does not say.
    name
        What the file calls it.
    """

    image: Tensor
    peak: float | None
    name: str


@dataclass(frozen=True)
class Values:
    """What the numbers of a picture are in its file.

    Attributes
    ----------
    low, high
        The values of the file that became -1 and 1; of a complex picture, those that became 0 and 1.
    unit
        Their unit, such as HU; empty where the file does not say.
    window
        (black, white) under which the file asks to be shown, in its own values; None where it does not.
    """

    low: float
    high: float
    unit: str = ""
    window: tuple[float, float] | None = None

    def of(self, shares: np.ndarray) -> np.ndarray:
        """Return the file's own values of magnitudes that go from 0 to 1."""
        return np.asarray(shares * np.float32(self.high - self.low) + np.float32(self.low))


class Source(ABC):
    """A sequence of scans or pictures.

    Building a source reads at most an index of its files; the data of an item are read when the item is asked for. A
    source can be sent to worker processes: it holds no open file.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items."""

    @abstractmethod
    def __getitem__(self, index: int) -> Scan | Picture:
        """Read one item.

        Raises
        ------
        IndexError
            Past the end.
        DataError
            When the item's data are missing, damaged or impossible.
        """

    @abstractmethod
    def shape(self, index: int) -> tuple[int, ...]:
        """Return the item's shape without reading its data: (coil, y, x) of a scan, (C, H, W) of a picture."""

    @abstractmethod
    def id(self, index: int) -> str:
        """Return the item's id without reading its data."""

    def stacks(self) -> tuple[range, ...]:
        """Return the runs of items that lie on one another as the slices of one volume, in their order.

        Every item is in exactly one. A reader that knows of no volumes has stacks of one item.
        """
        return tuple(range(index, index + 1) for index in range(len(self)))

    def unclipped(self) -> "Source":
        """Return the same items with all their values, for the eye: for a model the brightest voxels may be clipped."""
        return self

    def values(self, index: int) -> Values | None:
        """Return what the numbers of a picture are in its file; None of scans, and where nothing maps them back."""
        del index
        return None

    def origin(self, index: int) -> tuple[object, ...] | None:
        """Return what an item is read from: file, size, time of change, place in it, and how it is read.

        Two items of one origin are equal. None where there is no file, or making the item is as fast as finding it.
        """
        del index
        return None

    def target(self, index: int) -> Target | None:
        """Return the image that the item's file says figures are measured against; None where it has none.

        Raises
        ------
        DataError
            If it is damaged.
        """
        del index
        return None

    def file_name(self, index: int) -> str:
        """Return the name of the file that an item lies in; where a reader does not tell, one made of the item's id."""
        return f"{self.id(index)}.h5"

    def expect(self, indices: Sequence[int]) -> None:
        """Take note that these items are read next, so that slow storage can fetch them all at once; never fails."""
        del indices

    def __iter__(self) -> Iterator[Scan | Picture]:
        """Read the items one after the other."""
        return (self[index] for index in range(len(self)))


def runs_of(volumes: Iterable[object]) -> tuple[range, ...]:
    """Return the runs of neighbours with the same volume: ``stacks`` of a reader that knows each item's volume."""
    lengths = (sum(1 for _ in run) for _, run in groupby(volumes))
    return tuple(range(start, stop) for start, stop in pairwise(accumulate(lengths, initial=0)))
