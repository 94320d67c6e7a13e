"""What a file is: its first bytes say it, its name does not. The one rule for readers, `open_scan` and commands."""

import gzip
import struct
import zipfile
import zlib
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from rsd_med.base.errors import DataError
from rsd_med.data.cfl import cfl_of
from rsd_med.data.listing import files_below
from rsd_med.data.matlab_file import begins_as_matlab, holds_kspace, writes_as_matlab

if TYPE_CHECKING:
    import h5py

START = 540
"""Bytes that tell what a file is: the longest header, that of NIfTI-2."""

GZIP = b"\x1f\x8b"
_HEADER_SIZES = {size.to_bytes(4, "little") for size in (348, 540)} | {size.to_bytes(4, "big") for size in (348, 540)}


def files_of_kind(
    root: Path, kind: str, suffixes: Collection[str], include: str = "*", *, deep: bool = False
) -> list[Path]:
    """Return the files of a folder that a reader takes: those that are named so, and those that are of its kind.

    A file with the name of the kind and another content is for the reader to refuse: it may be damaged.

    Parameters
    ----------
    root
        The folder.
    kind
        As :func:`kind_of_file` calls it.
    suffixes
        Endings of names, in lower case.
    include
        A pattern that names match.
    deep
        Whether to look into the folders below.

    Raises
    ------
    DataError
        If a folder or a file may not be read.
    """
    named = tuple(suffixes)
    return [
        path
        for path in files_below(root, deep=deep)
        if fnmatchcase(path.name, include) and (path.name.lower().endswith(named) or kind_of_file(path) == kind)
    ]


def kind_of_folder(path: Path) -> str | None:
    """Return the reader of the first recognised file of a folder, in the order of names; None without one.

    MATLAB's files lie as results and masks among files of all kinds, and count only where they hold k-space.
    """
    kinds = ((file, kind_of_file(file)) for file in files_below(path))
    return next((kind for file, kind in kinds if kind and (kind != "matlab" or holds_kspace(file))), None)


def kind_of_file(path: Path) -> str | None:
    """Return who reads a file, from its first bytes; None if nobody does.

    A ``.cfl`` of BART's is numbers from the first byte: its name alone tells.

    Raises
    ------
    DataError
        If the file may not be read, or is HDF5 and damaged.
    """
    if cfl_of(path) is not None:
        return "bart"
    try:
        start = unpacked_start(path)
    except PermissionError as error:
        raise DataError(f"{path.name}: the file may not be read; give yourself read permission.") from error
    except (OSError, EOFError, zlib.error):
        return None
    if is_nifti(start):
        return "nifti"
    if begins_as_matlab(start):
        return "matlab"
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return _kind_of_hdf5(path)
    if is_dicom(start):
        return "dicom"
    if start[:4] == b"PK\x03\x04" and path.suffix.lower() == ".npz":
        return "raw_arrays" if _holds_kspace(path) else "arrays"
    return "arrays" if start[:6] == b"\x93NUMPY" else None


def is_packed(path: Path) -> bool:
    """Whether a file begins as gzip files do."""
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def unpacked_start(path: Path) -> bytes:
    """Return the first bytes of a file; of a gzip file, of what it holds."""
    with path.open("rb") as file:
        start = file.read(START)
    if start[:2] != GZIP:
        return start
    with gzip.open(path) as packed:
        return packed.read(START)


def is_nifti(start: bytes) -> bool:
    """Whether a file that begins so is a single NIfTI file, of version 1 or 2."""
    return (start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0") and start[:4] in _HEADER_SIZES


def is_dicom(start: bytes) -> bool:
    """Whether a file may be DICOM, by its first 132 bytes or more.

    With the preamble it says so. Without (old exports, PS3.10 forbids them) it begins with an early element of group 8,
    or with one of the file's meta information, group 2; then only reading it tells.
    """
    if start[128:132] == b"DICM":
        return True
    if len(start) < 12:
        return False
    explicit = start[4:6] in (b"UL", b"UI", b"CS", b"DA", b"TM", b"OB", b"SH", b"ST", b"LO")
    for order in "<>":
        group, element, short = struct.unpack(f"{order}HH2xH", start[:8])
        length = short if explicit else struct.unpack(f"{order}L", start[4:8])[0]
        if group in (2, 8) and element <= 0x20 and length <= 512 and length % 2 == 0:
            return True
    return False


def _holds_kspace(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "kspace.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False  # the reader will say what is wrong


def _kind_of_hdf5(path: Path) -> str | None:
    from rsd_med.data.hdf5 import opened
    from rsd_med.data.ismrmrd_records import groups_of

    with opened(path) as file:
        try:
            names = set(file.keys())  # membership of the file itself follows links
            plane, matlab = _has_plane(file, names), writes_as_matlab(file)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path.name}: the HDF5 file is damaged; copy it again or remove it.") from error
        if matlab:
            return "matlab"
        if "kspace" in names:
            return "raw_arrays" if "trajectory" in names or plane else "fastmri_hdf5"
        return "ismrmrd" if groups_of(file) else None


def _has_plane(file: "h5py.File", names: set[str]) -> bool:
    """Return whether there is a mask of y and x; fastMRI's second mask, of the columns of each slice, is none."""
    import h5py

    if not {"kspace", "mask"} <= names or "ismrmrd_header" in names:
        return False
    if not all(isinstance(file.get(name, getlink=True), h5py.HardLink) for name in ("kspace", "mask")):
        return False  # the reader will say what is wrong
    mask, kspace = (getattr(file[name], "shape", ()) for name in ("mask", "kspace"))
    return len(mask) > 1 and mask[-2:] == kspace[-2:]
