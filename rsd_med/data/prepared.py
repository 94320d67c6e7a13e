"""Measurements that are prepared once: sampled entries and coil maps on disk, read when asked for."""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rsd_med import __version__
from rsd_med.base.files import written_aside
from rsd_med.calibration.map_cache import cache_folder
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.mri import MultiCoilFourier

_log = logging.getLogger(__name__)

_FORMAT = "2"
"""Part of every key: raise it when calibration gives other numbers for the same settings."""

SMALLEST_BYTES = 1 << 20
"""Smaller measurements are prepared about as fast as they are read."""

RESERVE_BYTES = 2 << 30
"""What is left free of the disk, for checkpoints and everyone else."""

_IN_USE_SECONDS = 86_400
"""Another preparation that was used within this time is not removed to make room."""


class PreparedMeasurements:
    """The prepared measurements of one data set, beside the cache of coil maps.

    A measurement is found again under everything it depends on: the item of its file, that file's size and time of
    change, and what ``how`` names. What cannot be read whole counts as not there; what cannot be written is done
    without.

    Parameters
    ----------
    how
        What all measurements of the data set depend on: settings of corruption and calibration, the seed.
    limit_bytes
        Of the disk, for this and all other preparations.
    folder
        Of the cache; None is the user's, as :func:`~rsd_med.calibration.map_cache.cache_folder` says.
    """

    def __init__(self, how: Sequence[object], limit_bytes: int, folder: str | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.folder = cache_folder(folder) / "prepared" / _digest(_FORMAT, __version__, *how)

    def holds(self, item: Sequence[object]) -> bool:
        """Say whether the measurement of an item is there, whole or not."""
        return self._path(item).exists()

    def load(self, item: Sequence[object], item_id: str) -> Measurement | None:
        """Return the measurement of an item; None where it is not there whole.

        Its tensors are copies: one that stayed mapped would end the process if the file were cut short later.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path(item), framework="pt") as file:
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no mapping
                whole = (file.metadata() or {}).get("checksum") == _checksum(tensors)
            return _unpacked(tensors, item_id) if whole else None
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
            return None

    def save(self, item: Sequence[object], measurement: Measurement) -> None:
        """Keep the measurement of an item, where it is worth it and there is room."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        tensors = _packed(measurement)
        if tensors is None:
            return
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size < SMALLEST_BYTES:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._make_room(size):
                return
            with written_aside(self._path(item)) as path:
                save_file(tensors, path, {"checksum": _checksum(tensors)})
        except (OSError, SafetensorError) as error:
            self.limit_bytes = 0
            _log.warning("Prepared measurements cannot be stored (%s); they are prepared anew each time.", error)

    def _path(self, item: Sequence[object]) -> Path:
        return self.folder / f"{_digest(*item)}.safetensors"

    def _make_room(self, size: int) -> bool:
        """Remove preparations that are no longer used, as far as it takes; return whether ``size`` bytes fit."""
        sizes = {
            folder: sum(file.stat().st_size for file in os.scandir(folder))
            for folder in self.folder.parent.iterdir()
            if folder.is_dir()
        }
        total = sum(sizes.values()) + size
        for folder in sorted(sizes, key=_changed):
            if total <= self.limit_bytes or _changed(folder) > time.time() - _IN_USE_SECONDS:
                break
            if folder != self.folder:
                shutil.rmtree(folder, ignore_errors=True)
                total -= sizes[folder]
        return total <= self.limit_bytes and shutil.disk_usage(self.folder).free >= size + RESERVE_BYTES


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _packed(measurement: Measurement) -> dict[str, Tensor] | None:
    """Return the tensors behind a batch of one, of its data the sampled entries alone; None for other operators."""
    operator = measurement.operator
    if not isinstance(operator, MultiCoilFourier) or operator.sets > 1:
        return None
    mask = operator.mask[0, 0]
    data = measurement.data[0]
    tensors = {
        "entries": data[..., mask[0]] if len(mask) == 1 else data[..., mask],
        "mask": mask,
        "maps": operator.maps[0],
        "numbers": torch.cat((measurement.sigma, measurement.scale)),
    }
    if measurement.acquired is not None:
        tensors["acquired"] = measurement.acquired[0]
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _unpacked(tensors: dict[str, Tensor], item_id: str) -> Measurement:
    mask, maps = tensors["mask"], tensors["maps"]
    data = torch.zeros_like(maps)
    if len(mask) == 1:
        data.index_copy_(-1, mask[0].nonzero().flatten(), tensors["entries"])
    else:
        data[..., mask] = tensors["entries"]
    return Measurement(
        data=data[None],
        operator=MultiCoilFourier(mask[None, None], maps[None]),
        sigma=tensors["numbers"][:1].clone(),
        scale=tensors["numbers"][1:].clone(),
        ids=(item_id,),
        acquired=tensors["acquired"][None].clone() if "acquired" in tensors else None,
    )


def _checksum(tensors: dict[str, Tensor]) -> str:
    """Return a checksum that takes no longer than reading: of the large tensors the sum of all words, modulo 2^64."""
    words = {
        name: int(tensor.view(torch.int64).sum()) if tensor.is_complex() else tensor.numpy().tobytes()
        for name, tensor in sorted(tensors.items())
    }
    return _digest(words)
