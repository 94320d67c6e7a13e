"""MATLAB's files: since version 7.3 they are HDF5 behind a header of text, with the axes in reverse order.

Variables are named as in the CMRxRecon challenges (https://github.com/CmrxRecon, the texts in ChallengeDataFormat).
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rsd_med.base.errors import DataError
from rsd_med.data.hdf5 import checked_dataset, opened

if TYPE_CHECKING:
    import h5py

PARTS = ("real", "imag")
"""What MATLAB calls the two parts of a complex number."""

_HDF5, _OLD = b"MATLAB 7.", b"MATLAB 5.0"  # a few of the first HDF5 files say 7.0
_KSPACE = re.compile(r"kus|(full_)?kspace(_single)?(_(full|data|sub_?\d+))?", re.IGNORECASE)


def begins_as_matlab(start: bytes) -> bool:
    """Whether a file that begins so is one of MATLAB's, readable here or not."""
    return is_recent(start) or start.startswith(_OLD)


def is_recent(start: bytes) -> bool:
    """Whether a file that begins so is one of MATLAB's with HDF5 inside."""
    return start.startswith(_HDF5)


def is_old(path: Path) -> bool:
    """Whether a file is of MATLAB's versions 5 to 7.2, which is no HDF5.

    Raises
    ------
    DataError
        If it may not be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(_OLD)) == _OLD
    except PermissionError as error:
        raise DataError(f"{path.name}: the file may not be read; give yourself read permission.") from error
    except OSError:
        return False  # reading will say what is wrong


def variables(file: "h5py.File") -> list[str]:
    """Return the names of a file's variables.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    try:
        # "#refs#" holds what cells point to; a damaged name comes as bytes.
        return [name for name in file if isinstance(name, str) and not name.startswith("#")]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        name = Path(file.filename).name
        raise DataError(f"{name}: the HDF5 file is damaged; copy it again or remove it.") from error


def kspace_names(file: "h5py.File") -> list[str]:
    """Return the variables that are named like k-space, in the order of their names: complete scans come first."""
    return sorted(name for name in variables(file) if _KSPACE.fullmatch(name))


def holds_kspace(path: Path) -> bool:
    """Whether a file that begins as MATLAB's has a variable that is named like k-space.

    Raises
    ------
    DataError
        If it is HDF5 and damaged.
    """
    if is_old(path):
        return False
    with opened(path) as file:
        return bool(kspace_names(file))


def writes_as_matlab(file: "h5py.File") -> bool:
    """Whether something named like k-space is made of parts as MATLAB calls them, under whatever header."""
    import h5py

    for name in kspace_names(file):
        if isinstance(file.get(name, getlink=True), h5py.HardLink):
            names: tuple[str, ...] | None = getattr(getattr(file[name], "dtype", None), "names", None)
            if names == PARTS:
                return True
    return False


def checked_kspace(file: "h5py.File", name: str) -> "h5py.Dataset":
    """Return a variable once its declaration is known to be harmless; nothing of it is read.

    Raises
    ------
    DataError
        If it is missing, empty, real, a structure, or declared in a way that is refused.
    """
    where = f"{Path(file.filename).name}: '{name}'"
    try:
        if file[name].attrs.get("MATLAB_empty"):
            raise DataError(f"{where} is empty; save it again.")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
        pass  # what follows will say what is wrong
    dataset = checked_dataset(file, name, "cV", tuple(range(1, 33)))
    if dataset is None:
        raise DataError(f"{where} is not there any more; start again.")
    parts = dataset.dtype.fields
    if dataset.dtype.kind == "V" and (
        dataset.dtype.names != PARTS or parts is None or any(part.kind != "f" for part, *_ in parts.values())
    ):
        raise DataError(f"{where} holds values of type {dataset.dtype}; write complex numbers, single or double.")
    return dataset
