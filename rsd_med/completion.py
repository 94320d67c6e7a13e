"""Scans completed by a reconstructor: what teacher and student of ``objective: completed`` learn from."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.files import folder_written_aside
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

BLOCK = 32
"""Batches of each rank between two writes."""

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
        images = np.load(self.folder / f"{number}.npy", mmap_mode="r")
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
    if distribution.agree(int(distribution.is_main and _seal_of(folder) != seal)) == 0:
        return
    groups = list(dataset.groups().values())
    if distribution.is_main:
        with folder_written_aside(folder, durable=True) as side:
            shapes = [
                _write(side / f"{number}.npy", network, dataset, group, distribution)
                for number, group in enumerate(groups)
            ]
            facts = {"reconstructor": seal, "groups": groups, "shapes": shapes}
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
    """Write the images of one shape; return it."""
    file: np.ndarray | None = None
    row = 0
    for images in _completed(network, dataset, group, distribution):
        if file is None:
            shape = (len(group), *images.shape[-2:])
            file = np.lib.format.open_memmap(path, mode="w+", dtype=np.complex64, shape=shape)
        file[row : row + len(images)] = images.numpy()
        row += len(images)
    assert isinstance(file, np.memmap)
    file.flush()
    return [int(side) for side in file.shape[1:]]


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


def _seal_of(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / FACTS).read_text(encoding="utf-8"))["reconstructor"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
