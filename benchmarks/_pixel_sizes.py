"""Raw files of whole heads in three pixel sizes: what a reconstructor learns from that is to meet all of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common import succeed

SIZES = {"fine": (256, (240, 192)), "middle": (192, (184, 152)), "coarse": (128, (128, 128))}
"""Side to which images of 256 x 256 are resampled, and what is cut out of that, ``(y, x)``: 1.0, 1.3 and 1.9 mm."""

DARK = 20
"""Grey values up to this one count as air, of 255."""

LEAST = 3
"""A row or a column with more brighter pixels is of the head."""


def write_sizes(folder: Path, images: Path, options: list[str]) -> None:
    """Simulate scans of each size into one folder, where it is not there yet.

    Parameters
    ----------
    folder
        To fill.
    images
        ``.npz`` of uint8 images ``(N, 256, 256)``. Heads that do not fit into a size are left out of it.
    options
        Of `rsd_med.simulate`.
    """
    from rsd_med.simulate import main as simulate

    if folder.exists():
        return
    every = np.load(images)["images"]
    parts = folder.with_name(folder.name + "_parts")
    parts.mkdir(parents=True, exist_ok=True)
    for number, (name, (side, shape)) in enumerate(SIZES.items()):
        np.save(parts / f"{name}.npy", np.stack(list(_cut(every, side, shape))))
        place = ["--out", str(parts / name), "--seed", str(number + 1)]
        succeed(simulate, [str(parts / f"{name}.npy"), *place, *options])
    folder.mkdir()
    for name in SIZES:
        for file in sorted((parts / name).glob("*.h5")):
            file.rename(folder / f"{name}_{file.name}")


def _cut(images: np.ndarray, side: int, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield each image resampled, a window of it about the head."""
    for image in images:
        small = (
            image
            if side == len(image)
            else np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS))
        )
        if shape == small.shape:
            yield small
            continue
        places = [_extent(small > DARK, axis) for axis in (1, 0)]
        if any(end - start > size - 4 for (start, end), size in zip(places, shape, strict=True)):
            continue
        padded = np.pad(small, [(size, size) for size in shape])
        first = [(start + end) // 2 + size - size // 2 for (start, end), size in zip(places, shape, strict=True)]
        yield padded[first[0] : first[0] + shape[0], first[1] : first[1] + shape[1]]


def _extent(head: np.ndarray, axis: int) -> tuple[int, int]:
    """Return the first row or column of the head, and the one after the last."""
    numbers = np.flatnonzero(head.sum(axis) > LEAST)
    return int(numbers[0]), int(numbers[-1]) + 1
