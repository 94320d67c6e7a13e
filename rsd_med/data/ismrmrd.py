"""Two-dimensional scans, on the grid or off it, in the ISMRM raw data format (ISMRMRD), read one slice at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from rsd_med.base.errors import DataError
from rsd_med.base.notices import say_once
from rsd_med.calibration.scale import central_run, contiguous
from rsd_med.data.hdf5 import opened
from rsd_med.data.ismrmrd_header import Header, stored_header
from rsd_med.data.ismrmrd_lines import RawFile, along_trajectory, noise_samples, placed
from rsd_med.data.ismrmrd_records import (
    CALIBRATION,
    CALIBRATION_AND_IMAGING,
    NO_IMAGE,
    NOISE,
    groups_of,
    read_index,
    table_of,
)
from rsd_med.data.ismrmrd_sizes import CARTESIAN, NotReadError, say_where_the_centre_is, settled
from rsd_med.data.orientation import centred_affine
from rsd_med.data.paths import file_identity, resolve_root
from rsd_med.data.readout import sampled_rows, without_oversampling
from rsd_med.data.recognition import files_of_kind
from rsd_med.data.scan import Geometry, Scan
from rsd_med.data.source import Source, SourceSettings
from rsd_med.data.tolerances import even_step, group_numbers
from rsd_med.data.trajectory import in_cycles

SUFFIXES = (".h5", ".hdf5", ".mrd")
"""Endings of names that promise this kind of file."""
_SAME_PLACE = 0.01
"""Millimetres between places that are rounded differently, and the same."""
_KEYS = ("set", "repetition", "phase", "contrast", "slice")


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
    """One image of a file: its acquisitions, as entries of the index."""

    file: RawFile
    name: str
    lines: np.ndarray
    calibration: np.ndarray
    geometry: Geometry


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
        return self._items[index].name

    def shape(self, index: int) -> tuple[int, int, int]:
        """Return (coil, y, x) without reading the slice."""
        file = self._items[index].file
        return file.coils, file.rows, file.encoded[1]

    def stacks(self) -> tuple[range, ...]:
        """Return the slices of each volume: contrasts, repetitions, phases and sets are volumes of their own."""
        return tuple(self._stacks)

    def header(self, index: int) -> Header:
        """Return the allow-listed part of the file's header."""
        return self._items[index].file.header

    def origin(self, index: int) -> tuple[object, ...] | None:
        """Return the file, as it is now, the slice, and how many of its rows are kept."""
        item = self._items[index]
        file = file_identity(item.file.path)
        return None if file is None else (*file, item.name, item.file.rows)

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
        file = item.file
        if file.header.trajectory not in CARTESIAN:
            return _off_the_grid(item)
        with opened(file.path) as handle:
            table = table_of(handle[file.group])
            kspace, averages = placed(table, item.lines, file)
            calibration = placed(table, item.calibration, file)[0] if len(item.calibration) else None
            noise = noise_samples(table, file, item.lines, averages)
        acquired = (kspace != 0).flatten(0, 1).any(0)
        if not bool(acquired.any()):
            raise DataError(f"{file.path.name}, {item.name}: k-space is zero everywhere; remove it or write it again.")
        kspace, readout = without_oversampling(kspace, sampled_rows(kspace), file.rows)
        say_where_the_centre_is(kspace, item.name, str(file.path))
        if calibration is not None and not bool(calibration.any()):
            calibration = None
        if calibration is not None:
            calibration, _ = without_oversampling(calibration, sampled_rows(calibration), file.rows)
        return Scan(
            id=item.name,
            kspace=kspace,
            acquired=acquired,
            acs_lines=None if contiguous(acquired) else central_run(acquired),
            geometry=item.geometry,
            noise=noise,
            calibration=calibration,
            readout=readout,
            reconstructed=_reconstructed(file),
        )


def _off_the_grid(item: _Item) -> Scan:
    """Read a slice that was measured along a trajectory; averages are samples like others."""
    file = item.file
    with opened(file.path) as handle:
        table = table_of(handle[file.group])
        kspace, trajectory = along_trajectory(table, item.lines, file.coils)
        noise = noise_samples(table, file, item.lines, np.ones(1, np.int64))
    rows, columns = file.encoded
    return Scan(
        id=item.name,
        kspace=kspace,
        acquired=torch.ones(kspace.shape[-1], dtype=torch.bool),
        geometry=item.geometry,
        noise=noise,
        trajectory=in_cycles(trajectory, (rows, columns), item.name),
        image_size=(rows, columns),
    )


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
    noise = index[(index["flags"] & NOISE) != 0]
    index = index[((index["flags"] & (NOISE | NO_IMAGE)) == 0) & (index["number_of_samples"] > 0)]
    separate = _separate(index, header)
    lines, calibration = index[~separate], index[separate | ((index["flags"] & CALIBRATION_AND_IMAGING) != 0)]
    file = settled(path, group, header, lines, crop=settings.remove_readout_oversampling)
    file = replace(file, noise=noise[noise["active_channels"] == file.coils])
    if not separate.any():
        calibration = index[:0]
    calibration = calibration[(calibration["active_channels"] == file.coils) & (calibration["encoding_space_ref"] == 0)]
    return _volumes(file, stem, lines, calibration, settings.slices)


def _separate(index: np.ndarray, header: Header) -> np.ndarray:
    """Return which acquisitions are calibration apart from the image.

    A line flagged as calibration alone is one more line of an embedded scan. Where the header does not say how the scan
    was calibrated, such lines are apart if they repeat lines of the image, which embedded ones never do.
    """
    alone = (index["flags"] & CALIBRATION) != 0
    if header.calibration_mode in ("embedded", "interleaved"):
        return np.zeros(len(index), bool)
    if header.calibration_mode in ("separate", "external") or not alone.any():
        return alone
    keys = [*_KEYS, "kspace_encode_step_1"]
    repeated = bool(np.isin(np.unique(index[alone][keys]), np.unique(index[~alone][keys])).any())
    return alone if repeated else np.zeros(len(index), bool)


def _volumes(
    file: RawFile, stem: str, lines: np.ndarray, calibration: np.ndarray, central: int | None
) -> list[list[_Item]]:
    varying = [key for key in _KEYS[:-1] if len(np.unique(lines[key])) > 1]
    volumes = []
    for group in np.unique(lines[list(_KEYS[:-1])]):
        volume = lines[lines[list(_KEYS[:-1])] == group]
        firsts = {int(number): volume[volume["slice"] == number][0] for number in np.unique(volume["slice"])}
        heights = group_numbers(np.array([_height(first) for first in firsts.values()]), _SAME_PLACE)
        order = [number for _, number in sorted(zip(heights.tolist(), firsts, strict=True))]
        taken = len(order) if central is None else min(central, len(order))
        start = (len(order) - taken) // 2
        step = _step([firsts[number] for number in order], file.header, file.path)
        volumes.append(
            [
                _Item(
                    file,
                    "_".join([f"{stem}_{number:03d}", *(f"{key}{int(group[key])}" for key in varying)]),
                    volume[volume["slice"] == number],
                    calibration[calibration["slice"] == number],
                    _geometry(file, firsts[number], step),
                )
                for number in order[start : start + taken]
            ]
        )
    return volumes


def _height(entry: np.void) -> float:
    """Return where a slice lies along its normal; 0 where the file does not say."""
    height = float(entry["position"].astype(np.float64) @ entry["slice_dir"].astype(np.float64))
    return height if np.isfinite(height) else 0.0


def _step(firsts: list[np.void], header: Header, path: Path) -> list[float] | float | None:
    """Return the way from one slice to the next, millimetres, LPS+; the slice's thickness where there is only one.

    None where it is unknown: slices that do not lie at equal distances have none.
    """
    if len(firsts) > 1:
        places = np.array([first["position"] for first in firsts], np.float64)
        if not np.ptp(places, axis=0).any():
            return 0.0  # slices in one place: a converter that does not know places
        step = even_step(places)
        if step is None:
            say_once(f"{path.name}: its slices do not lie at equal distances, so the distance counts as unknown.")
        return None if step is None else step.tolist()
    fov = header.recon.fov_mm or header.encoded.fov_mm
    return None if fov is None else fov[2]


def _reconstructed(file: RawFile) -> tuple[int, int] | None:
    """Return the part of the image with the reconstructed field of view."""
    encoded, recon = file.header.encoded.fov_mm, file.header.recon.fov_mm
    if encoded is None or recon is None:
        return None
    rows, columns = (round(file.encoded[n] * recon[n] / encoded[n]) for n in (0, 1))
    part = min(file.rows, rows), min(file.encoded[1], columns)
    return None if part == (file.rows, file.encoded[1]) or 0 in part else part


def _geometry(file: RawFile, entry: np.void, step: list[float] | float | None) -> Geometry:
    space = file.header.encoded if file.header.trajectory in CARTESIAN else file.header.recon
    if space.fov_mm is None:
        return Geometry()
    spacing = (space.fov_mm[0] / file.encoded[0], space.fov_mm[1] / file.encoded[1])
    position, down, across = ([float(value) for value in entry[name]] for name in ("position", "read_dir", "phase_dir"))
    distance = 1.0 if step is None else step
    affine = centred_affine(position, down, across, (file.rows, file.encoded[1]), spacing, distance)
    if affine is None or step is None:
        return Geometry(affine, spacing)
    return Geometry(affine, (*spacing, float(np.linalg.norm(affine[:3, 2]))))
