"""From the acquisitions of one measurement to its images: which lines belong together, and where each image lies.

The same for a file (`rsd_med.data.ismrmrd`) and for lines that a scanner sends (`rsd_med.data.ismrmrd_stream`).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from rsd_med.base.errors import DataError
from rsd_med.base.notices import say_once
from rsd_med.calibration.scale import central_run, contiguous
from rsd_med.data.ismrmrd_acquisitions import CALIBRATION, CALIBRATION_AND_IMAGING, NO_IMAGE, NOISE, Acquisitions
from rsd_med.data.ismrmrd_header import Header
from rsd_med.data.ismrmrd_lines import Encoding, along_trajectory, noise_samples, placed
from rsd_med.data.ismrmrd_sizes import CARTESIAN, say_where_the_centre_is, settled
from rsd_med.data.orientation import centred_affine
from rsd_med.data.readout import sampled_rows, without_oversampling
from rsd_med.data.scan import Geometry, Scan
from rsd_med.data.tolerances import even_step, group_numbers
from rsd_med.data.trajectory import in_cycles

_SAME_PLACE = 0.01
"""Millimetres between places that are rounded differently, and the same."""
_KEYS = ("set", "repetition", "phase", "contrast", "slice")


@dataclass(frozen=True)
class RawImage:
    """One image of a measurement, before anything of it is computed.

    Attributes
    ----------
    encoding
        The measurement's.
    name
        The item's id.
    lines, calibration
        Entries of the index: its acquisitions, and those of separate calibration lines.
    geometry
        Where it lies.
    """

    encoding: Encoding
    name: str
    lines: np.ndarray
    calibration: np.ndarray
    geometry: Geometry


def images_of(
    index: np.ndarray, header: Header, stem: str, source: str, *, central: int | None = None, crop: bool = True
) -> list[list[RawImage]]:
    """Sort the acquisitions of one measurement into images.

    Parameters
    ----------
    index
        All of them, noise included (:data:`rsd_med.data.ismrmrd_acquisitions.INDEX`).
    header
        The measurement's.
    stem
        Begins the names of its items.
    source
        What messages call the measurement.
    central
        How many central slices of each volume are taken; None takes all.
    crop
        Whether readout oversampling will be removed.

    Returns
    -------
    list of list of RawImage
        Volumes of slices, which are ordered by where they lie.

    Raises
    ------
    NotReadError
        If there are no lines of an image, or they are encoded or stored in a way that is not read.
    """
    noise = index[(index["flags"] & NOISE) != 0]
    index = index[((index["flags"] & (NOISE | NO_IMAGE)) == 0) & (index["number_of_samples"] > 0)]
    separate = _separate(index, header)
    lines, calibration = index[~separate], index[separate | ((index["flags"] & CALIBRATION_AND_IMAGING) != 0)]
    encoding = settled(source, header, lines, crop=crop)
    encoding = replace(encoding, noise=noise[noise["active_channels"] == encoding.coils])
    if not separate.any():
        calibration = index[:0]
    calibration = calibration[
        (calibration["active_channels"] == encoding.coils) & (calibration["encoding_space_ref"] == 0)
    ]
    return _volumes(encoding, stem, lines, calibration, central)


def scan_of(image: RawImage, acquisitions: Acquisitions) -> Scan:
    """Put the lines of one image in their places.

    Parameters
    ----------
    image
        From :func:`images_of`.
    acquisitions
        Where its samples are.

    Raises
    ------
    DataError
        If the slice is damaged, holds NaN or infinities, or nothing at all.
    """
    encoding = image.encoding
    if encoding.header.trajectory not in CARTESIAN:
        return _off_the_grid(image, acquisitions)
    kspace, averages = placed(acquisitions, image.lines, encoding)
    calibration = placed(acquisitions, image.calibration, encoding)[0] if len(image.calibration) else None
    noise = noise_samples(acquisitions, encoding, image.lines, averages)
    acquired = (kspace != 0).flatten(0, 1).any(0)
    if not bool(acquired.any()):
        raise DataError(f"{encoding.name}, {image.name}: k-space is zero everywhere; remove it or write it again.")
    kspace, readout = without_oversampling(kspace, sampled_rows(kspace), encoding.rows)
    say_where_the_centre_is(kspace, image.name, encoding.name)
    if calibration is not None and not bool(calibration.any()):
        calibration = None
    if calibration is not None:
        calibration, _ = without_oversampling(calibration, sampled_rows(calibration), encoding.rows)
    return Scan(
        id=image.name,
        kspace=kspace,
        acquired=acquired,
        acs_lines=None if contiguous(acquired) else central_run(acquired),
        geometry=image.geometry,
        noise=noise,
        calibration=calibration,
        readout=readout,
        reconstructed=_reconstructed(encoding),
    )


def _off_the_grid(image: RawImage, acquisitions: Acquisitions) -> Scan:
    """Read a slice that was measured along a trajectory; averages are samples like others."""
    encoding = image.encoding
    kspace, trajectory = along_trajectory(acquisitions, image.lines, encoding.coils)
    noise = noise_samples(acquisitions, encoding, image.lines, np.ones(1, np.int64))
    return Scan(
        id=image.name,
        kspace=kspace,
        acquired=torch.ones(kspace.shape[-1], dtype=torch.bool),
        geometry=image.geometry,
        noise=noise,
        trajectory=in_cycles(trajectory, encoding.encoded, image.name),
        image_size=encoding.encoded,
    )


def _separate(index: np.ndarray, header: Header) -> np.ndarray:
    """Return which acquisitions are calibration apart from the image.

    A line flagged as calibration alone is one more line of an embedded scan. Where the header does not say how the scan
    was calibrated, such lines are apart if they repeat lines of the image, which embedded ones never do.
    """
    alone = (index["flags"] & CALIBRATION) != 0
    if header.calibration_mode in ("embedded", "interleaved"):
        return np.zeros(len(index), bool)
    if header.calibration_mode in ("separate", "external") or not alone.any():
        return alone
    keys = [*_KEYS, "kspace_encode_step_1"]
    repeated = bool(np.isin(np.unique(index[alone][keys]), np.unique(index[~alone][keys])).any())
    return alone if repeated else np.zeros(len(index), bool)


def _volumes(
    encoding: Encoding, stem: str, lines: np.ndarray, calibration: np.ndarray, central: int | None
) -> list[list[RawImage]]:
    varying = [key for key in _KEYS[:-1] if len(np.unique(lines[key])) > 1]
    apart = {int(value["slice"]): group for value, group in _grouped(calibration, ["slice"])}
    volumes = []
    for group, volume in _grouped(lines, list(_KEYS[:-1])):
        slices = {int(value["slice"]): group for value, group in _grouped(volume, ["slice"])}
        heights = group_numbers(np.array([_height(some[0]) for some in slices.values()]), _SAME_PLACE)
        order = [number for _, number in sorted(zip(heights.tolist(), slices, strict=True))]
        taken = len(order) if central is None else min(central, len(order))
        start = (len(order) - taken) // 2
        step = _step([slices[number][0] for number in order], encoding)
        volumes.append(
            [
                RawImage(
                    encoding,
                    "_".join([f"{stem}_{number:03d}", *(f"{key}{int(group[key])}" for key in varying)]),
                    slices[number],
                    apart.get(number, calibration[:0]),
                    _geometry(encoding, slices[number][0], step),
                )
                for number in order[start : start + taken]
            ]
        )
    return volumes


def _grouped(lines: np.ndarray, keys: list[str]) -> list[tuple[np.void, np.ndarray]]:
    """Return the entries that have the same values of some keys, in their order; one sorting for all of them."""
    if not len(lines):
        return []
    values, inverse = np.unique(lines[keys], return_inverse=True)
    ordered = lines[np.argsort(inverse, kind="stable")]
    return list(zip(values, np.split(ordered, np.cumsum(np.bincount(inverse))[:-1]), strict=True))


def _height(entry: np.void) -> float:
    """Return where a slice lies along its normal; 0 where the file does not say."""
    height = float(entry["position"].astype(np.float64) @ entry["slice_dir"].astype(np.float64))
    return height if np.isfinite(height) else 0.0


def _step(firsts: list[np.void], encoding: Encoding) -> list[float] | float | None:
    """Return the way from one slice to the next, millimetres, LPS+; the slice's thickness where there is only one.

    None where it is unknown: slices that do not lie at equal distances have none.
    """
    if len(firsts) > 1:
        places = np.array([first["position"] for first in firsts], np.float64)
        if not np.ptp(places, axis=0).any():
            return 0.0  # slices in one place: a converter that does not know places
        step = even_step(places)
        if step is None:
            say_once(f"{encoding.name}: its slices do not lie at equal distances, so the distance counts as unknown.")
        return None if step is None else step.tolist()
    header = encoding.header
    fov = header.recon.fov_mm or header.encoded.fov_mm
    return None if fov is None else fov[2]


def _reconstructed(encoding: Encoding) -> tuple[int, int] | None:
    """Return the part of the image with the reconstructed field of view."""
    encoded, recon = encoding.header.encoded.fov_mm, encoding.header.recon.fov_mm
    if encoded is None or recon is None:
        return None
    rows, columns = (round(encoding.encoded[n] * recon[n] / encoded[n]) for n in (0, 1))
    part = min(encoding.rows, rows), min(encoding.encoded[1], columns)
    return None if part == (encoding.rows, encoding.encoded[1]) or 0 in part else part


def _geometry(encoding: Encoding, entry: np.void, step: list[float] | float | None) -> Geometry:
    space = encoding.header.encoded if encoding.header.trajectory in CARTESIAN else encoding.header.recon
    if space.fov_mm is None:
        return Geometry()
    spacing = (space.fov_mm[0] / encoding.encoded[0], space.fov_mm[1] / encoding.encoded[1])
    position, down, across = ([float(value) for value in entry[name]] for name in ("position", "read_dir", "phase_dir"))
    distance = 1.0 if step is None else step
    affine = centred_affine(position, down, across, (encoding.rows, encoding.encoded[1]), spacing, distance)
    if affine is None or step is None:
        return Geometry(affine, spacing)
    return Geometry(affine, (*spacing, float(np.linalg.norm(affine[:3, 2]))))
