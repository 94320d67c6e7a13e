"""Scans completed by a reconstructor: what teacher and student of ``objective: completed`` learn from."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.files import folder_written_aside, remove_abandoned
from rsd_med.base.progress import watched
from rsd_med.corruptions.measurement import Measurement
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.data.scan import Picture
from rsd_med.data.source import Source
from rsd_med.diffusion.guess_error import LATENTS
from rsd_med.diffusion.unrolled import UnrolledNetwork
from rsd_med.operators.linear import Identity
from rsd_med.runs.distribution import Distribution
from rsd_med.training.batches import load_batch

BATCH = 32
"""Scans that are completed at once."""

BLOCK = 4
"""Batches of each rank between two writes: every rank hears of all of them."""

FACTS = "facts.json"


class CompletedScans(Source):
    """The completed scans of a run, in the order of its measurements.

    Parameters
    ----------
    folder
        As `complete` leaves it.
    ids
        The names of the measurements.
    mirror
        Whether the mirror images of all follow.

    Raises
    ------
    DataError
        If the folder is missing or of other measurements.
    """

    def __init__(self, folder: Path, ids: Sequence[str], mirror: bool = False) -> None:
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            self.groups = [[int(index) for index in group] for group in facts["groups"]]
            self.shapes = [tuple(int(side) for side in shape) for shape in facts["shapes"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder}: the completed scans are missing or damaged; go on with the run, which completes them anew."
            ) from error
        self.folder = folder
        self.ids = list(ids)
        self.mirror = mirror
        self._place = {
            index: (number, row) for number, group in enumerate(self.groups) for row, index in enumerate(group)
        }
        if sorted(self._place) != list(range(len(self.ids))):
            raise DataError(
                f"{folder} holds {len(self._place):,} completed scans, and there are {len(self.ids):,} measurements: "
                "the data have changed since; choose another --run-dir."
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return (1 + self.mirror) * len(self.ids)

    def id(self, index: int) -> str:
        """Return the name of the measurement."""
        return self.ids[index % len(self.ids)] + (", mirrored" if index >= len(self.ids) else "")

    def shape(self, index: int) -> tuple[int, ...]:
        """Return (1, y, x)."""
        return (1, *self.shapes[self._place[range(len(self))[index] % len(self.ids)][0]])

    def __getitem__(self, index: int) -> Picture:
        """Read one image, complex64 in scaled units."""
        mirrored, scan = divmod(range(len(self))[index], len(self.ids))
        number, row = self._place[scan]
        try:
            images = np.load(self.folder / f"{number}.npy", mmap_mode="r")
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder}: {number}.npy is missing or damaged; go on with the run.") from error
        image = torch.from_numpy(np.array(images[row]))[None]
        return Picture(self.id(index), image.flip(-1) if mirrored else image)


def complete(
    network: UnrolledNetwork, dataset: MeasurementDataset, folder: Path, distribution: Distribution, seal: str
) -> None:
    """Complete all scans of a data set where that has not been done yet; the ranks share them.

    What is kept is the estimate, not a draw: a draw holds errors of the expected size, which look like noise.

    Parameters
    ----------
    network
        A reconstructor that has learned.
    dataset
        The measurements.
    folder
        Where the images go: an ``.npy`` for each shape, complex64 ``(n, y, x)``, in scaled units.
    distribution
        The processes; rank 0 writes.
    seal
        Names the reconstructor: what another has completed is done anew.
    """
    ids = _hash_of([dataset.id(index) for index in range(len(dataset))])
    if distribution.agree(int(distribution.is_main and not _is_whole(folder, seal, ids))) == 0:
        return
    groups = list(dataset.groups().values())
    if distribution.is_main:
        remove_abandoned(folder)
        with folder_written_aside(folder, durable=True) as side:
            shapes = [
                _write(side / f"{number}.npy", network, dataset, group, distribution)
                for number, group in enumerate(groups)
            ]
            sizes = [(side / f"{number}.npy").stat().st_size for number in range(len(groups))]
            facts = {"reconstructor": seal, "ids": ids, "groups": groups, "shapes": shapes, "bytes": sizes}
            (side / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    else:
        for group in groups:
            for _ in _completed(network, dataset, group, distribution):
                pass
    distribution.wait()


def completed_like(measurement: Measurement) -> Measurement:
    """Return measurements as if their zero-filled images were complete: to try a step before there are any."""
    return Measurement(measurement.image(), Identity(), 0 * measurement.sigma, measurement.scale, measurement.ids)


def _write(
    path: Path, network: UnrolledNetwork, dataset: MeasurementDataset, group: Sequence[int], distribution: Distribution
) -> list[int]:
    """Write the images of one shape; return it. A full disk is an error here, which it is not in a mapped file."""
    sides: list[int] = []
    with path.open("wb") as file:
        for images in _completed(network, dataset, group, distribution):
            if not sides:
                sides = [int(side) for side in images.shape[-2:]]
                header = {"descr": "<c8", "fortran_order": False, "shape": (len(group), *sides)}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(images.numpy().astype("<c8").tobytes())
    return sides


@torch.no_grad()
def _completed(
    network: UnrolledNetwork, dataset: MeasurementDataset, group: Sequence[int], distribution: Distribution
) -> Iterator[Tensor]:
    """Yield the completed images ``(b, y, x)`` of some scans of one shape, in their order, on every rank."""
    batches = [group[start : start + BATCH] for start in range(0, len(group), BATCH)]
    size = BLOCK * distribution.world_size
    device = next(network.parameters()).device
    for start in range(0, len(batches), size):
        own = []
        turn = distribution.deal(batches[start : start + size])
        for indices in watched(turn, f"completing scans, {BATCH} at a time, from {start * BATCH:,}"):
            measurement = load_batch(dataset, indices, device)
            silent = torch.zeros(len(indices), 1, LATENTS, *measurement.size, device=device)
            own.append(network(measurement, silent)[:, 0, 0].cpu())
        yield from distribution.gather(own)


def reconstructor_of(folder: Path) -> str | None:
    """Return the seal of the reconstructor that completed the scans in a folder; None where there are none."""
    try:
        return str(json.loads((folder / FACTS).read_text(encoding="utf-8"))["reconstructor"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_whole(folder: Path, seal: str, ids: str) -> bool:
    """Say whether all scans are there, completed by this reconstructor."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        sizes = [(folder / f"{number}.npy").stat().st_size for number in range(len(facts["bytes"]))]
        return bool(facts["reconstructor"] == seal and facts["ids"] == ids and sizes == facts["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _hash_of(ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
