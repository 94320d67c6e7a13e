"""The images of a study: read, checked against each other, kept at hand."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from rsd_med.base.errors import DataError

from .settings import CaseSettings, StudySettings, locate

MOST_VOXELS = 2**25
MOST_IMAGES = 8


@dataclass(frozen=True, eq=False)
class StudyImage:
    """One image of a study.

    Attributes
    ----------
    values
        float32, (z, y, x).
    affine
        Steps along (x, y, z) in millimetres, RAS+, float64 (4, 4); None when the file does not say.
    spacing
        Millimetres along (z, y, x); None when the file does not say.
    """

    values: np.ndarray
    affine: np.ndarray | None = None
    spacing: tuple[float, float, float] | None = None


def case_files(case: CaseSettings) -> dict[str, str]:
    """Return the images of a case by arm, and the reference under the empty name."""
    return {**case.images, **({"": case.reference} if case.reference else {})}


def check_images(study: Path, settings: StudySettings) -> None:
    """Open every image of a study once.

    Raises
    ------
    DataError
        If one cannot be read, or the arms of a case differ in size: a difference in size gives the arm away.
    """
    for case in settings.cases:
        shapes = {arm or "reference": read_image(study, name).values.shape for arm, name in case_files(case).items()}
        if len(set(shapes.values())) > 1:
            raise DataError(f"{study.name}: the images of case {case.id} differ in size: {_listed(shapes)}")


@lru_cache(maxsize=MOST_IMAGES)
def read_image(study: Path, name: str) -> StudyImage:
    """Read one image.

    Parameters
    ----------
    study
        Path of ``study.yaml``.
    name
        As in a case's ``images``.

    Raises
    ------
    DataError
        If it is damaged, too large, of another shape or type, or holds no finite number.
    """
    path = locate(study, name)
    item = name.rpartition("#")[2] if "#" in name else None
    affine, spacing = None, None
    if path.name.endswith((".nii", ".nii.gz")):
        values, affine, spacing = _read_nifti(path)
    else:
        values = _read_array(path, item)
    if np.iscomplexobj(values):
        values = np.abs(values)
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or 0 in values.shape or values.size > MOST_VOXELS or values.dtype.kind not in "fiub":
        raise DataError(f"{name}: an image is numbers (y, x) or (z, y, x), not {values.dtype} {values.shape}")
    image = np.ascontiguousarray(values, dtype="<f4")
    if not np.isfinite(image).any():
        raise DataError(f"{name}: holds no finite number")
    image.flags.writeable = False
    return StudyImage(image, affine, spacing)


def _read_array(path: Path, item: str | None) -> np.ndarray:
    if path.suffix != ".npy":
        raise DataError(f"{path.name}: an image is a .npy or a NIfTI file")
    try:
        values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise DataError(f"{path.name}: is damaged, or no array of numbers") from None
    if item is None:
        return values
    if not item.isdecimal() or int(item) >= len(values):
        raise DataError(f"{path.name}#{item}: there are items 0 to {len(values) - 1}")
    taken = np.asarray(values[int(item)])
    if taken.ndim == 3 and len(taken) == 2:
        return np.hypot(taken[0], taken[1])
    return taken[0] if taken.ndim == 3 and len(taken) == 1 else taken


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray | None, tuple[float, float, float] | None]:
    from rsd_med.data.nifti_file import VoxelFiles, read_header

    header = read_header(path, path.name)
    if np.prod(header.shape, dtype=float) > MOST_VOXELS:
        raise DataError(f"{path.name}: larger than {MOST_VOXELS} voxels")
    voxels = VoxelFiles()
    values = np.stack([voxels.cut(header, 0, 2, plane).T for plane in range(header.shape[2])])
    zooms = header.zooms
    return values, header.affine, None if zooms is None else (zooms[2], zooms[1], zooms[0])


def _listed(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{arm} {'x'.join(map(str, shape))}" for arm, shape in shapes.items())
