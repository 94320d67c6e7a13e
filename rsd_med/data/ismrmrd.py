"""Two-dimensional scans, on the grid or off it, in the ISMRM raw data format (ISMRMRD), read one slice at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from rsd_med.base.errors import DataError
from rsd_med.base.notices import say_once
from rsd_med.data.hdf5 import opened
from rsd_med.data.ismrmrd_header import Header, stored_header
from rsd_med.data.ismrmrd_images import RawImage, images_of, scan_of
from rsd_med.data.ismrmrd_records import StoredAcquisitions, groups_of, read_index, table_of
from rsd_med.data.ismrmrd_sizes import NotReadError
from rsd_med.data.paths import file_identity, resolve_root
from rsd_med.data.recognition import files_of_kind
from rsd_med.data.scan import Scan
from rsd_med.data.source import Source, SourceSettings

SUFFIXES = (".h5", ".hdf5", ".mrd")
"""Endings of names that promise this kind of file."""


class ISMRMRDSettings(SourceSettings):
    """Settings of the ``ismrmrd`` reader."""

    kind: Literal["ismrmrd"] = "ismrmrd"
    root: str = Field(
        description="a folder of ISMRMRD files (`.h5`, `.mrd`), or one file. Environment variables and `~` are "
        "expanded; a relative path is relative to the protocol"
    )
    slices: int | None = Field(None, gt=0, description="how many central slices of each volume to use; null takes all")
    remove_readout_oversampling: bool = Field(
        True, description="crop the readout to the field of view of the header's reconstructed space"
    )
    limit: int | None = Field(
        None, gt=0, description="use only this many slices, the first in the order of the file names; null takes all"
    )

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "ISMRMRD":
        """Index the files; ``seed`` is not used, nothing here is random.

        Raises
        ------
        DataError
            If the root does not exist, holds no such file, or a file is malformed or not two-dimensional Cartesian.
        """
        return ISMRMRD(resolve_root(self.root, base_dir), self)


@dataclass(frozen=True)
class _Item:
    """One image, and the measurement of a file that it is in."""

    path: Path
    group: str
    image: RawImage


class ISMRMRD(Source):
    """Slices of two-dimensional multi-coil k-space from ISMRMRD files.

    Every combination of slice, contrast, phase, repetition and set is an item; averages are averaged, segments put
    together. Several measurements in one file are read one after the other. Phase encoding steps are placed by the
    header's centre, samples by ``center_sample``, so that partial Fourier and asymmetric echoes leave gaps that count
    as never acquired. Navigators, phase correction and dummies are left out. Lines for calibration that belong to the
    scan (embedded) are part of it; separate ones are handed out as ``Scan.calibration``; noise scans as ``Scan.noise``,
    scaled to the dwell time and the averages of the scan.

    Samples of a radial, spiral or other trajectory come with their positions (``traj``), (k_x, k_y) in cycles per field
    of view or per pixel, x being the readout direction.

    An item's id is its file's name and the slice: give files neutral names. Of the header nothing but sizes, field
    strength and the words of its schema are read, of the acquisitions nothing but numbers that make the image.

    Parameters
    ----------
    root
        Folder or file.
    settings
        What to read of it.

    Raises
    ------
    DataError
        If there is nothing to read, a file is damaged, malformed, hides its data elsewhere, or holds what is not read:
        echo-planar scans, three-dimensional encoding.
    """

    def __init__(self, root: Path, settings: ISMRMRDSettings) -> None:
        self._items: list[_Item] = []
        self._stacks: list[range] = []
        for path in _files(root):
            for stack in _index(path, settings):
                self._stacks.append(range(len(self._items), len(self._items) + len(stack)))
                self._items.extend(stack)
            if settings.limit is not None and len(self._items) >= settings.limit:
                del self._items[settings.limit :]
                break
        count = len(self._items)
        self._stacks = [range(run.start, min(run.stop, count)) for run in self._stacks if run.start < count]

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self._items)

    def id(self, index: int) -> str:
        """Return the file's stem, the slice, and what tells items apart: ``scan_measurement2_004_contrast1``."""
        return self._items[index].image.name

    def shape(self, index: int) -> tuple[int, int, int]:
        """Return (coil, y, x) without reading the slice."""
        encoding = self._items[index].image.encoding
        return encoding.coils, encoding.rows, encoding.encoded[1]

    def stacks(self) -> tuple[range, ...]:
        """Return the slices of each volume: contrasts, repetitions, phases and sets are volumes of their own."""
        return tuple(self._stacks)

    def header(self, index: int) -> Header:
        """Return the allow-listed part of the file's header."""
        return self._items[index].image.encoding.header

    def origin(self, index: int) -> tuple[object, ...] | None:
        """Return the file, as it is now, the slice, and how many of its rows are kept."""
        item = self._items[index]
        file = file_identity(item.path)
        return None if file is None else (*file, item.image.name, item.image.encoding.rows)

    def __getitem__(self, index: int) -> Scan:
        """Read one slice.

        Raises
        ------
        IndexError
            Past the end.
        DataError
            If the slice is damaged, holds NaN or infinities, or nothing at all.
        """
        item = self._items[index]
        with opened(item.path) as handle:
            return scan_of(item.image, StoredAcquisitions(table_of(handle[item.group])))


# --- the index ------------------------------------------------------------------------------------------------------


def _files(root: Path) -> Iterator[Path]:
    """Yield the files of a folder in the order of their names, or the one file."""
    if root.is_file():
        yield root
        return
    if not root.is_dir():
        raise DataError(f"The ISMRMRD folder or file '{root.name}' does not exist: check data.root.")
    paths = files_of_kind(root, "ismrmrd", SUFFIXES)
    if not paths:
        raise DataError(f"The folder '{root.name}' holds no .h5 or .mrd file; point 'root' to the folder that does.")
    stems = [path.stem for path in paths]
    for path in paths:
        if stems.count(path.stem) > 1:
            raise DataError(f"Two files are named '{path.stem}' but for their suffix; rename one, names are ids.")
    yield from paths


def _index(path: Path, settings: ISMRMRDSettings) -> list[list[_Item]]:
    """Return the volumes of a file, each a list of slices, of one measurement after the other.

    Measurements that hold no image that is read (adjustments, noise) are named in a warning, unless there is no other.
    """
    with opened(path) as handle:
        groups = [str(group.name) for group in groups_of(handle)]
    if not groups:
        raise DataError(f"{path.name}: there are no acquisitions ('dataset/data') in this file; is it an ISMRMRD file?")
    volumes: list[list[_Item]] = []
    refused: list[tuple[int, NotReadError]] = []
    for number, group in enumerate(groups, 1):
        stem = path.stem if len(groups) == 1 else f"{path.stem}_measurement{number}"
        try:
            volumes += _measurement(path, group, stem, settings)
        except NotReadError as error:
            refused.append((number, error))
    if not volumes:
        raise refused[0][1]
    for number, why in refused:
        say_once(f"Measurement {number} of {len(groups)} in {path.name} is left out. {why}")
    return volumes


def _measurement(path: Path, group: str, stem: str, settings: ISMRMRDSettings) -> list[list[_Item]]:
    with opened(path) as handle:
        table = table_of(handle[group])
        header = stored_header(table.parent, "xml", path.name)
        index = read_index(table)
    volumes = images_of(
        index, header, stem, path.name, central=settings.slices, crop=settings.remove_readout_oversampling
    )
    return [[_Item(path, group, image) for image in volume] for volume in volumes]
