"""Generated images to files: arrays, pictures, NIfTI, HDF5. A file is whole or not there."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import ProtocolError
from rsd_med.base.files import written_aside
from rsd_med.metrics.views import magnitude_view
from rsd_med.operators.channels import to_complex
from rsd_med.runs.grids import to_grey_levels

Format = Literal["npy", "png", "nifti", "hdf5"]


def write_images(images: Tensor, folder: Path, form: Format) -> Path:
    """Write images in channels, ``(n, channels, y, x)`` float32 in scaled units.

    Parameters
    ----------
    images
        Two channels are real and imaginary part.
    folder
        Created where it is missing.
    form
        ``npy``: ``samples.npy`` as given. ``png``: ``sample_00000.png`` …, 8-bit at the fixed window. ``nifti``:
        ``samples.nii.gz``, magnitudes, one slice an image, without an orientation. ``hdf5``: ``samples.h5`` with
        ``images``, complex64 for two channels.

    Returns
    -------
    Path
        The file, or the folder for ``png``.

    Raises
    ------
    ProtocolError
        For colour images as ``nifti``.
    """
    if form == "nifti" and images.shape[1] == 3:
        raise ProtocolError("--format nifti holds one number per pixel and these images are in colour; use npy or png.")
    folder.mkdir(parents=True, exist_ok=True)
    if form == "png":
        _write_pictures(images, folder)
        return folder
    name = {"npy": "samples.npy", "nifti": "samples.nii.gz", "hdf5": "samples.h5"}[form]
    write = {"npy": _write_npy, "nifti": _write_nifti, "hdf5": _write_hdf5}[form]
    _write_whole(folder / name, lambda path: write(images, path))
    return folder / name


def require_unused(folder: Path) -> None:
    """Refuse a folder that holds samples: those of two draws must not become one set.

    Raises
    ------
    ProtocolError
        If it does.
    """
    if any(folder.glob("samples.*")) or any(folder.glob("sample_*.png")):
        raise ProtocolError(f"--out: the folder {folder.name} holds samples already; empty it or name another.")


def require_room(count: int, shape: Sequence[int]) -> None:
    """Refuse more images than memory holds.

    Parameters
    ----------
    count
        How many.
    shape
        Of one, (channel, y, x).

    Raises
    ------
    ProtocolError
        If they would take more than all of the machine's memory.
    """
    needed = 2 * count * 4 * math.prod(shape)  # twice: the parts, and the whole they are joined to
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise ProtocolError(
            f"--num: {count:,} images take {needed / 2**30:,.0f} GiB of memory and this machine has "
            f"{memory / 2**30:,.0f}; draw fewer, and more with another --seed."
        )


def _write_pictures(images: Tensor, folder: Path) -> None:
    """Write all pictures, or leave the folder as it was but for those that had been there and are replaced."""
    from PIL import Image

    written: list[Path] = []
    try:
        for number, level in enumerate(to_grey_levels(images)):
            path = folder / f"sample_{number:05d}.png"
            written += [] if path.exists() else [path]
            _write_whole(path, Image.fromarray(level).save)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    with written_aside(path) as side:
        write(side)


def _write_npy(images: Tensor, path: Path) -> None:
    np.save(path, images.to(torch.float32).numpy())


def _write_nifti(images: Tensor, path: Path) -> None:
    import nibabel

    # Columns first, as NIfTI counts; generated images lie in no patient, so the file claims no orientation.
    volume = ((magnitude_view(images)[:, 0] + 1) / 2).permute(2, 1, 0).numpy()
    image = nibabel.Nifti1Image(volume, affine=None)
    image.header["descrip"] = b"generated, not for diagnosis"
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, path)


def _write_hdf5(images: Tensor, path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        values = to_complex(images) if images.shape[1] == 2 else images
        file.create_dataset("images", data=values.numpy())
        file.attrs["note"] = "generated, not for diagnosis; scaled units of training"
