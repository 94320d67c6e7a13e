"""Files of a reconstructed volume for other programs: fastMRI's evaluation, BART."""

from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from rsd_med.base.notices import say_once
from rsd_med.data.writing import NOTE
from rsd_med.data.writing.cfl import CflWriter
from rsd_med.data.writing.hdf5 import written_hdf5
from rsd_med.inverse.base import Reconstruction
from rsd_med.inverse.scans import Prepared
from rsd_med.metrics.image_quality import reconstructed_part


class VolumeFile(ABC):
    """What is written beside the images, slice by slice; whole when the block ends well, or not there."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the files, or leave none."""
        self._stack.__exit__(kind, error, trace)

    @abstractmethod
    def add(self, prepared: Prepared, reconstruction: Reconstruction, image: Tensor, part: tuple[int, int]) -> None:
        """Append a slice.

        Parameters
        ----------
        prepared, reconstruction
            Of the slice.
        image
            Magnitude, (y, x), in the units and the shading of the file.
        part
            (y, x) of the reconstructed matrix about its centre.
        """


class FastMRIFile(VolumeFile):
    """``reconstruction``, (slice, y, x), float32, of the reconstructed matrix, as fastMRI's ``save_reconstructions``.

    Parameters
    ----------
    path
        Named as the file of the scan, by which fastMRI's evaluation finds it; its folder is made.
    slices
        How many there will be.
    """

    def __init__(self, path: Path, slices: int) -> None:
        super().__init__()
        self.path = path
        self.slices = slices
        self._images: Any = None
        self._count = 0

    def add(self, prepared: Prepared, reconstruction: Reconstruction, image: Tensor, part: tuple[int, int]) -> None:
        """Append the magnitude."""
        if self._images is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self._stack.enter_context(written_hdf5(self.path))
            file.attrs["note"] = f"rsd_med: {NOTE}"
            self._images = file.create_dataset("reconstruction", (self.slices, *part), "f4")
        self._images[self._count] = reconstructed_part(image, part).numpy(force=True)
        self._count += 1


class BartFiles(VolumeFile):
    """``image``, ``maps`` and ``kspace``, each ``.cfl`` and ``.hdr``: what the method was given, and what it made.

    K-space is that of the calibrated coils, whitened and compressed, in the units of the file, and the maps are theirs:
    ``bart pics kspace maps`` has the same problem to solve. The complex image goes with these maps.

    Parameters
    ----------
    folder
        Is made.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._files: dict[str, CflWriter] = {}
        self._sets: int | None = None

    def add(self, prepared: Prepared, reconstruction: Reconstruction, image: Tensor, part: tuple[int, int]) -> None:
        """Append the slice to each file."""
        scale = prepared.scan.scale
        maps = prepared.scan.maps if prepared.scan.maps.ndim == 4 else prepared.scan.maps[None]
        if self._sets is None:
            self._sets = len(reconstruction.mean)
        if len(reconstruction.mean) > self._sets:
            say_once(
                "BART's files hold one set of coil maps, as the first slice; the second of other slices is left out."
            )
        slices = {
            "image": _of_sets(reconstruction.mean, self._sets)[:, None] * scale,
            "maps": _of_sets(maps, self._sets),
        }
        if prepared.scan.kspace.shape[-2:] == image.shape:  # along a trajectory there is none on the grid
            slices["kspace"] = prepared.scan.kspace * scale
        for name, values in slices.items():
            if name not in self._files:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._files[name] = self._stack.enter_context(CflWriter(self.folder / f"{name}.cfl"))
            self._files[name].add(values)


def _of_sets(parts: Tensor, sets: int) -> Tensor:
    """Return so many parts ``(set, ...)``: the first ones, or more of zeros."""
    missing = parts.new_zeros(max(sets - len(parts), 0), *parts.shape[1:])
    return torch.cat((parts[:sets], missing))
