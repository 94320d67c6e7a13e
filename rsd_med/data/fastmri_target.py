"""What a file of fastMRI's says beside its k-space: the image that figures are measured against, the acquisition."""

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from rsd_med.base.errors import DataError
from rsd_med.base.notices import say_once
from rsd_med.data.hdf5 import checked_dataset, read
from rsd_med.data.source import Target

if TYPE_CHECKING:
    import h5py

TARGETS = ("reconstruction_rss", "reconstruction_esc")
"""Of several coils, or of one; the first that is there counts."""


def read_target(file: "h5py.File", number: int, slices: int) -> Target | None:
    """Return a slice of the file's own reconstruction; None where it has none.

    Raises
    ------
    DataError
        If what is there is no volume of as many slices, or holds NaN or infinities.
    """
    name = Path(file.filename).name
    for key in TARGETS:
        dataset = checked_dataset(file, key, "f", (3,))
        if dataset is None:
            continue
        if dataset.shape[0] != slices:
            raise DataError(f"{name}: '{key}' has {dataset.shape[0]} slices and 'kspace' {slices}; write it again.")
        image = torch.from_numpy(read(dataset, number).astype(np.float32, copy=False))
        if not bool(torch.isfinite(image).all()):
            raise DataError(f"{name}: '{key}' holds NaN or infinite values; write it again.")
        return Target(image, _peak(file), key)
    return None


def acquisition_of(file: "h5py.File") -> str | None:
    """Return the attribute ``acquisition``, such as AXT2 or CORPD_FBK; None where it is no text."""
    value = _attribute(file, "acquisition")
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return str(value) if isinstance(value, str) and value else None


def say_what_is_mixed(acquisitions: Iterable[str | None]) -> None:
    """Say so where a folder holds several acquisitions, which nobody has chosen from."""
    counts = Counter(name or "unnamed" for name in acquisitions)
    if len(counts) > 1:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        say_once(f"The files are of several acquisitions, and all are taken: {listed}. 'acquisition' chooses one.")


def _peak(file: "h5py.File") -> float | None:
    """Return the attribute ``max``, the peak of the volume; None where it is no positive number."""
    try:
        value = float(np.asarray(_attribute(file, "max")).reshape(()))
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def _attribute(file: "h5py.File", name: str) -> object:
    try:
        return file.attrs.get(name)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None  # damaged: it says nothing
