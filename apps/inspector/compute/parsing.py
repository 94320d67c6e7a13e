"""What is read of uploads: one item, or all slices of a volume, as JSON and plain arrays (``.npz`` without pickle)."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsd_med.base.errors import DataError

from .confined import alone_path, in_child

if TYPE_CHECKING:
    from rsd_med.data.scan import Geometry, Picture, Scan
    from rsd_med.data.source import Source

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

    Images keep all their values, in those of the file where it says what they are; of raw k-space the root sum of
    squares over the coils is taken, in the units of the file, zeros where nothing was measured. Slices that make no
    volume (of different sizes, or too many voxels together) are shown one at a time, and that is said.

    Parameters
    ----------
    path, index
        See `read_item`.
    out
        ``.npy`` to write to: float32 (slice, y, x).

    Returns
    -------
    dict
        ``kind`` (scan or picture); ``count`` slices of which the first is item ``first`` and item ``index`` was asked
        for; ``total`` items in ``volumes`` volumes, this one being number ``volume`` from 0; ``shape``, ``unit``,
        ``window``; ``affine`` for (y, x, slice) and ``spacing_mm``, or None; ``oriented``.

    Raises
    ------
    DataError
        When the file is malformed, or exceeds a limit.
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


def _opened(path: Path, out: Path) -> "Source":
    """Open what was sent, nothing clipped; one image alone in an array counts as an array of one."""
    import torch

    from rsd_med.data.opening import open_scan

    torch.set_num_threads(1)
    if path.suffix == ".npy" and _axes_of_array(path) == 2:
        alone = alone_path(out)
        np.save(alone, np.load(path, allow_pickle=False)[None])
        path = alone
    source = open_scan(path).unclipped()
    if len(source) == 0:
        raise DataError("This file holds no image.")
    return source


def _axes_of_array(path: Path) -> int:
    try:
        return int(np.load(path, mmap_mode="r", allow_pickle=False).ndim)
    except (OSError, ValueError, EOFError):
        return 0  # the reader will say what is wrong


def _number(source: "Source", index: int | None) -> int:
    number = len(source) // 2 if index is None else index
    if not 0 <= number < len(source):
        raise DataError(f"This file has {len(source)} slices.")
    return number


def _read(path: Path, out: Path, index: int | None) -> dict[str, Any]:
    from rsd_med.data.scan import Picture

    source = _opened(path, out)
    number = _number(source, index)
    item = source[number]
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"count": len(source), "index": number}
    if isinstance(item, Picture):
        facts |= {"kind": "picture", "shape": list(item.image.shape[-2:]), "complex": item.image.is_complex()}
        arrays["image"] = item.image.numpy()
        if item.image.shape[0] != 1:
            raise DataError("This is a picture in colour, not a scan.")
        values = source.values(number)
        if values is not None:
            arrays["limits"] = np.array([values.low, values.high])
    else:
        facts |= _facts_of_scan(item)
        for name in ("kspace", "acquired", "maps", "noise", "calibration", "readout", "trajectory", "sampled"):
            value = getattr(item, name)
            if value is not None:
                arrays[name] = value.numpy()
        arrays["matrix"] = np.array(item.matrix)
        if item.reconstructed is not None:
            arrays["reconstructed"] = np.array(item.reconstructed)
    numbers = arrays.get("kspace", arrays.get("image"))
    if numbers is None or not np.isfinite(numbers).all():
        raise DataError("This slice holds values that are not finite; it cannot be used.")
    if not np.any(numbers):
        raise DataError("This slice is empty: every value is zero.")
    geometry = item.geometry
    oriented = geometry.affine is not None and bool(np.isfinite(geometry.affine).all())
    facts["oriented"] = oriented
    facts["spacing_mm"] = _spacing(geometry)
    if facts["spacing_mm"] is not None:
        arrays["spacing_mm"] = np.asarray(geometry.spacing_mm, np.float64)
    if oriented:
        arrays["affine"] = np.asarray(geometry.affine, np.float64)
    stored: dict[str, Any] = arrays
    np.savez(out, **stored)
    return facts


def _facts_of_scan(item: "Scan") -> dict[str, Any]:
    (rows, columns), coils = item.matrix, item.kspace.shape[0]
    sampled, there = int(item.acquired.sum()), columns
    if item.sampled is not None or item.trajectory is not None:
        sampled, there = sampled if item.sampled is None else int(item.sampled.sum()), rows * columns
    return {
        "kind": "scan",
        "shape": [rows, columns],
        "coils": coils,
        "sampled": sampled,
        "acceleration": there / max(1, sampled),
        "gaps": item.gaps,
        "acs_lines": item.acs_lines,
        "noise_scan": item.noise is not None,
        "partial_rows": item.readout is not None and not bool(item.readout.all()),
    }


def _spacing(geometry: "Geometry") -> list[float] | None:
    spacing = geometry.spacing_mm
    usable = spacing is not None and all(0 < step < math.inf for step in spacing)
    return [float(step) for step in spacing] if spacing is not None and usable else None


def _read_stack(path: Path, out: Path, index: int | None) -> dict[str, Any]:
    from rsd_med.base.notices import say_once
    from rsd_med.data.orientation import stack_geometry
    from rsd_med.data.scan import Picture

    source = _opened(path, out)
    number = _number(source, index)
    stacks = source.stacks()
    if len(stacks) == len(source):  # images that are no volume are paged through all the same
        stacks = (range(len(source)),)
    volume_number = next(place for place, stack in enumerate(stacks) if number in stack)
    items, shape = stacks[volume_number], source.shape(number)[-2:]
    alone = None
    if any(source.shape(item)[-2:] != shape for item in items):
        alone = "The slices of this scan have different sizes: they are shown one at a time."
    elif len(items) * shape[0] * shape[1] > MOST_VOXELS:
        alone = f"This volume has more than {MOST_VOXELS >> 20} million voxels: its slices are shown one at a time."
    if alone is not None:
        say_once(alone)
        items = range(number, number + 1)
    volume, geometries, item = None, [], None
    for place, item in enumerate(map(source.__getitem__, items)):
        image = _seen(source, items[place], item)
        if volume is None:
            volume = np.lib.format.open_memmap(out, "w+", np.float32, (len(items), *image.shape))
        volume[place] = image
        geometries.append(item.geometry)
    assert volume is not None
    assert item is not None
    if not np.isfinite(volume).all():
        raise DataError("This volume holds values that are not finite; it cannot be shown.")
    volume.flush()
    geometry = stack_geometry(geometries)
    values = source.values(number)
    picture = isinstance(item, Picture)
    known = not picture or values is not None
    return {
        "kind": "picture" if picture else "scan",
        "count": len(items),
        "first": items[0],
        "index": number,
        "total": len(source),
        "volumes": len(stacks),
        "volume": volume_number,
        "shape": list(volume.shape[1:]),
        "unit": (values.unit if values is not None else "") or ("file units" if known else ""),
        "window": _window(volume, None if values is None else values.window),
        "affine": None if geometry.affine is None else np.asarray(geometry.affine, np.float64).tolist(),
        "spacing_mm": _spacing(geometry),
        "oriented": geometry.affine is not None and bool(np.isfinite(geometry.affine).all()),
    }


def _seen(source: "Source", number: int, item: "Scan | Picture") -> np.ndarray:
    """Return an item as one looks at it: float32 (y, x), in the values of its file where these are known."""
    from rsd_med.calibration.noncartesian import gridded
    from rsd_med.data.scan import Scan
    from rsd_med.operators.fourier import ifft2c

    if isinstance(item, Scan):
        samples = item.trajectory
        kspace = item.kspace if samples is None else gridded(item.kspace, samples, item.matrix)
        return np.asarray(ifft2c(kspace).abs().square().sum(0).sqrt().numpy())
    if item.image.shape[0] != 1:
        raise DataError("This is a picture in colour, not a scan.")
    shares = item.image[0].abs() if item.image.is_complex() else (item.image[0] + 1) / 2
    values = source.values(number)
    return np.asarray(shares.numpy() if values is None else values.of(shares.numpy()))


def _window(volume: np.ndarray, asked: tuple[float, float] | None) -> list[float]:
    """Return black and white: the file's own, else from the least value, or 0, to the 99.5th percentile."""
    if asked is not None:
        return list(asked)
    black, white = min(0.0, float(volume.min())), float(np.percentile(volume, 99.5))
    return [black, white if white > black else max(black + 1e-6, float(volume.max()))]
