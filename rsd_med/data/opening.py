"""One file or folder of unknown kind: its content says who reads it, its name does not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.notices import say_once
from rsd_med.data.cfl import cfl_of
from rsd_med.data.recognition import kind_of_file, kind_of_folder
from rsd_med.data.source import Source


def open_scan(path: Path, *, kind: str | None = None, acquisition: str | None = None) -> Source:
    """Open a scan, an image or a folder of them.

    Parameters
    ----------
    path
        A file or a folder; a pair of BART's may be named as BART does, without an ending. Slices of NIfTI and DICOM are
        cut as they are stored; of a four-dimensional NIfTI file all volumes are taken. Numbers of an array go from its
        smallest (or 0) to its largest value.
    kind
        ``fastmri_hdf5``, ``ismrmrd``, ``raw_arrays``, ``bart``, ``matlab``, ``nifti``, ``dicom`` or ``arrays``; None
        looks at the content.
    acquisition
        Of fastMRI's files, take only those of this acquisition; None takes all.

    Returns
    -------
    Source
        Its items are scans (raw k-space) or pictures (images).

    Raises
    ------
    ProtocolError
        If ``kind`` is none of these, or an acquisition is asked of files that name none.
    DataError
        If there is nothing at ``path``, or nothing that is recognised, or what is there is malformed.
    """
    if kind is not None and kind not in READERS:
        raise ProtocolError(f"There is no reader '{kind}'; choose one of {', '.join(sorted(READERS))}.")
    path = cfl_of(path) or path
    if not path.exists():
        raise DataError(f"{path.name}: there is no such file or folder; check the path.")
    found = kind or (kind_of_folder(path) if path.is_dir() else kind_of_file(path))
    if found is None:
        what = "the folder holds no file" if path.is_dir() else "the file is nothing"
        raise DataError(
            f"{path.name}: {what} that is recognised; fastMRI HDF5, ISMRMRD, raw arrays, "
            "BART's files, MATLAB 7.3, NIfTI, DICOM and NumPy arrays are read (docs/data.md)."
        )
    if acquisition is not None:
        if found != "fastmri_hdf5":
            raise ProtocolError(f"{path.name}: only fastMRI's files name their acquisition, and this is {found}.")
        return _fastmri(path, acquisition)
    return READERS[found](path)


def _fastmri(path: Path, acquisition: str | None = None) -> Source:
    from rsd_med.data.fastmri_hdf5 import FastMRIHDF5

    return FastMRIHDF5(path, acquisition=acquisition)


def _ismrmrd(path: Path) -> Source:
    from rsd_med.data.ismrmrd import ISMRMRD, ISMRMRDSettings

    return ISMRMRD(path, ISMRMRDSettings(root="."))


def _nifti(path: Path) -> Source:
    from rsd_med.data.nifti import Nifti, NiftiSettings

    return Nifti(NiftiSettings(root=".", volume="all"), path)


def _dicom(path: Path) -> Source:
    from rsd_med.data.dicom import Dicom, DicomSettings

    return Dicom(DicomSettings(root="."), path)


def _raw_arrays(path: Path) -> Source:
    from rsd_med.data.raw_arrays import RawArrays, RawArraySettings

    return RawArrays(path, RawArraySettings(root="."))


def _bart(path: Path) -> Source:
    from rsd_med.data.bart import Bart, BartSettings

    return Bart(path, BartSettings(root="."))


def _matlab(path: Path) -> Source:
    from rsd_med.data.matlab import Matlab, MatlabSettings

    return Matlab(path, MatlabSettings(root="."))


def _arrays(path: Path) -> Source:
    from rsd_med.data.arrays import Arrays, ArraysSettings

    source = Arrays(ArraysSettings(root=".", range=_limits(path)), path)
    if source.dtype.kind == "c":
        say_once(
            f"{path.name}: an array of complex numbers, shape {source.array_shape}, is taken for "
            f"{source.array_shape[0]} images. If it is k-space, write it as docs/data.md says."
        )
    return source


def _limits(path: Path) -> tuple[float, float] | None:
    """Return what is black and white in an array of real numbers; None where 8 bits, or complex numbers, say it."""
    if path.suffix.lower() != ".npy":
        return None
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # the reader will say what is wrong
    if array.dtype == np.uint8 or array.dtype.kind not in "uif" or array.size == 0:
        return None
    low, high = min(0.0, float(array.min())), float(array.max())
    if not np.isfinite([low, high]).all():
        raise DataError(f"{path.name}: some values are not finite (NaN or infinite): replace them by numbers.")
    if low >= high:
        raise DataError(f"{path.name}: all values are the same: there is no image in it.")
    return low, high


# Readers take the path itself: a name that holds a $ or a ~ means nothing but itself here.
READERS: dict[str, Callable[[Path], Source]] = {
    "fastmri_hdf5": _fastmri,
    "ismrmrd": _ismrmrd,
    "nifti": _nifti,
    "dicom": _dicom,
    "raw_arrays": _raw_arrays,
    "bart": _bart,
    "matlab": _matlab,
    "arrays": _arrays,
}
