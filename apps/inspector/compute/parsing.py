"""What is read of uploads: one item, or all slices of a volume, as JSON and plain arrays (``.npz`` without pickle)."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from rsd_med.base.errors import DataError

from .confined import in_child

MOST_VOXELS = 64 << 20


def read_item(path: Path, out: Path, index: int | None = None) -> dict[str, Any]:
    """Read one item (slice) of a file.

    Parameters
    ----------
    path
        File or folder that was uploaded.
    out
        ``.npz`` to write the item's arrays to; see `load_item`.
    index
        Which item; None for the middle one.

    Returns
    -------
    dict
        What was read, as plain values: ``kind`` (scan or picture), ``count``, ``index``, ``shape``, and for scans
        ``coils``, ``sampled``, ``acceleration``, ``acs_lines``, ``noise_scan``; ``spacing_mm`` and ``oriented``.

    Raises
    ------
    DataError
        When the file is malformed, or exceeds a limit.
    """
    return in_child(_read, path, out, index)


def read_stack(path: Path, out: Path, index: int | None = None) -> dict[str, Any]:
    """Read all slices of the volume that holds an item, as one looks at them.

    Images keep all their values, from 0 at the darkest to 1 at the brightest of the volume; of raw k-space the root sum
    of squares over the coils is taken, in the units of the file, zeros where nothing was measured.

    Parameters
    ----------
    path, index
        See `read_item`.
    out
        ``.npy`` to write to: float32 (slice, y, x).

    Returns
    -------
    dict
        ``count``, ``kind`` (scan or picture), ``window``; ``affine`` for (y, x, slice) and ``spacing_mm``, or None.

    Raises
    ------
    DataError
        When the file is malformed, exceeds a limit, or its slices are no volume that can be shown.
    """
    return in_child(_read_stack, path, out, index)


def load_item(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an item: those attributes of a scan or a picture that are there.

    Raises
    ------
    DataError
        When the file is not what the child writes.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError) as error:
        raise DataError("What was read of this scan is gone; read it again.") from error


def _read(path: Path, out: Path, index: int | None) -> dict[str, Any]:
    import torch

    from rsd_med.data.opening import open_scan
    from rsd_med.data.scan import Picture

    torch.set_num_threads(1)
    source = open_scan(path)
    count = len(source)
    if count == 0:
        raise DataError("This file holds no image.")
    number = count // 2 if index is None else index
    if not 0 <= number < count:
        raise DataError(f"This file has {count} slices, numbered from 0.")
    item = source[number]
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"count": count, "index": number}
    if isinstance(item, Picture):
        facts |= {"kind": "picture", "shape": list(item.image.shape[-2:]), "complex": item.image.is_complex()}
        arrays["image"] = item.image.numpy()
        if item.image.shape[0] != 1:
            raise DataError("This is a picture in colour, not a scan.")
    else:
        (rows, columns), coils = item.matrix, item.kspace.shape[0]
        sampled, there = int(item.acquired.sum()), columns
        if item.sampled is not None or item.trajectory is not None:
            sampled, there = sampled if item.sampled is None else int(item.sampled.sum()), rows * columns
        facts |= {
            "kind": "scan",
            "shape": [rows, columns],
            "coils": coils,
            "sampled": sampled,
            "acceleration": there / max(1, sampled),
            "acs_lines": item.acs_lines,
            "noise_scan": item.noise is not None,
            "partial_rows": item.readout is not None and not bool(item.readout.all()),
        }
        for name in ("kspace", "acquired", "maps", "noise", "calibration", "readout", "trajectory", "sampled"):
            value = getattr(item, name)
            if value is not None:
                arrays[name] = value.numpy()
        arrays["matrix"] = np.array(item.matrix)
        if item.reconstructed is not None:
            arrays["reconstructed"] = np.array(item.reconstructed)
    values = arrays.get("kspace", arrays.get("image"))
    if values is None or not np.isfinite(values).all():
        raise DataError("This slice holds values that are not finite; it cannot be used.")
    if not np.any(values):
        raise DataError("This slice is empty: every value is zero.")
    geometry = item.geometry
    oriented = geometry.affine is not None and bool(np.isfinite(geometry.affine).all())
    facts["oriented"] = oriented
    facts["spacing_mm"] = None
    if geometry.spacing_mm is not None and all(0 < step < math.inf for step in geometry.spacing_mm):
        facts["spacing_mm"] = [float(step) for step in geometry.spacing_mm]
        arrays["spacing_mm"] = np.asarray(geometry.spacing_mm, np.float64)
    if oriented:
        arrays["affine"] = np.asarray(geometry.affine, np.float64)
    stored: dict[str, Any] = arrays
    np.savez(out, **stored)
    return facts


def _read_stack(path: Path, out: Path, index: int | None) -> dict[str, Any]:
    import torch

    from rsd_med.calibration.noncartesian import gridded
    from rsd_med.data.opening import open_scan
    from rsd_med.data.orientation import stack_geometry
    from rsd_med.data.scan import Picture
    from rsd_med.operators.fourier import ifft2c

    torch.set_num_threads(1)
    source = open_scan(path).unclipped()
    if len(source) == 0:
        raise DataError("This file holds no image.")
    number = len(source) // 2 if index is None else index
    if not 0 <= number < len(source):
        raise DataError(f"This file has {len(source)} slices, numbered from 0.")
    items = next(stack for stack in source.stacks() if number in stack)
    rows, columns = source.shape(items[0])[-2:]
    if len(items) * rows * columns > MOST_VOXELS:
        raise DataError(f"This volume has more than {MOST_VOXELS >> 20} million voxels; look at it slice by slice.")
    volume = np.lib.format.open_memmap(out, "w+", np.float32, (len(items), rows, columns))
    geometries = []
    for place, item in enumerate(map(source.__getitem__, items)):
        if isinstance(item, Picture):
            if item.image.shape[0] != 1:
                raise DataError("This is a picture in colour, not a scan.")
            image = item.image[0].abs() if item.image.is_complex() else (item.image[0] + 1) / 2
        else:
            samples = item.trajectory
            kspace = item.kspace if samples is None else gridded(item.kspace, samples, item.matrix)
            image = ifft2c(kspace).abs().square().sum(0).sqrt()
        if image.shape != (rows, columns):
            raise DataError("The slices of this scan have different sizes; look at them one by one.")
        volume[place] = image.numpy()
        geometries.append(item.geometry)
    if not np.isfinite(volume).all():
        raise DataError("This volume holds values that are not finite; it cannot be shown.")
    volume.flush()
    geometry = stack_geometry(geometries)
    spacing = geometry.spacing_mm
    usable = spacing is not None and all(0 < step < math.inf for step in spacing)
    white = float(np.percentile(volume, 99.5))
    return {
        "count": len(items),
        "kind": "picture" if isinstance(item, Picture) else "scan",
        "window": [0.0, white if white > 0 else max(1e-6, float(volume.max()))],
        "affine": None if geometry.affine is None else np.asarray(geometry.affine, np.float64).tolist(),
        "spacing_mm": [float(step) for step in spacing] if spacing is not None and usable else None,
    }
