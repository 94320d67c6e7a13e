"""The sizes of an ISMRMRD image: what the header says, held against the lines that are there.

Converters leave headers behind that their sequences do not keep. Where the lines settle a contradiction they do, and
the user is told; where nothing settles it, the measurement is not read.
"""

from dataclasses import replace

import numpy as np
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.limits import MAX_SIDE
from rsd_med.base.notices import FirstOf, say_once
from rsd_med.data.hdf5 import MAX_READ_BYTES
from rsd_med.data.ismrmrd_header import EncodingSpace, Header
from rsd_med.data.ismrmrd_lines import Encoding

CARTESIAN = (None, "cartesian")
"""The header's words for samples on the grid."""

NOTICES = FirstOf("other slices of the file are not named")
_MOST_OVERSAMPLING = 4
_OFF_CENTRE = 0.04
"""Part of the lines by which the strongest one may be off the declared centre: objects have a phase of their own."""


class NotReadError(DataError):
    """A measurement without an image that is read; others of the same file may have one."""


def settled(name: str, header: Header, lines: np.ndarray, *, crop: bool) -> Encoding:
    """Refuse what is not a two-dimensional scan, and settle its sizes.

    Parameters
    ----------
    name
        What messages call the measurement.
    header
        Its own.
    lines
        Entries of the index that are lines of the image; ``noise`` of the result is empty.
    crop
        Whether readout oversampling will be removed.

    Raises
    ------
    NotReadError
        If the scan has no lines, or is encoded or stored in a way that is not read.
    """
    if header.trajectory == "epi":
        raise NotReadError(f"{name}: the scan is echo-planar; its lines need a phase correction first.")
    if not len(lines):
        raise NotReadError(f"{name}: there is no line of an image among the acquisitions; is it a noise scan?")
    if lines["encoding_space_ref"].any():
        raise NotReadError(f"{name}: the image has several encoding spaces, and one is read; split the file.")
    _require_one_partition(name, header, lines)
    coils = int(lines["active_channels"][0])
    if coils < 1 or (lines["active_channels"] != coils).any():
        raise NotReadError(f"{name}: the number of channels changes from line to line; split the file.")
    if header.trajectory not in CARTESIAN:
        return _along_trajectory(name, header, coils, lines)
    header = _with_oversampling(name, header, lines)
    longest = int(lines["number_of_samples"].max())
    columns = int(lines["kspace_encode_step_1"].max()) + 1
    rows, columns = (longest, columns) if header.encoded.matrix is None else header.encoded.matrix[:2]
    if rows < longest or max(rows, columns) > MAX_SIDE or coils * rows * columns * 16 > MAX_READ_BYTES:
        raise NotReadError(
            f"{name}: {rows} × {columns} points for {coils} channels, as the header declares, with lines of {longest} "
            "samples cannot be read; write the header again."
        )
    centre = _central_step(name, header, lines["kspace_encode_step_1"], columns)
    target = _rows_without_oversampling(header, rows) if crop else rows
    return Encoding(name, header, coils, (rows, columns), target, centre, lines[:0])


def _central_step(name: str, header: Header, steps: np.ndarray, columns: int) -> int:
    """Return the step at the centre of k-space: the header's, or the middle where the lines do not fit about that."""
    middle = columns // 2
    for centre in (middle if header.phase_limits is None else header.phase_limits[2], middle):
        if steps.min() - centre + middle >= 0 and steps.max() - centre + middle < columns:
            if header.phase_limits is not None and centre != header.phase_limits[2]:
                say_once(
                    f"{name}: lines {steps.min()} to {steps.max()} of {columns} do not fit about the header's centre "
                    f"{header.phase_limits[2]}; the middle of the matrix, {middle}, is taken."
                )
            return centre
    raise NotReadError(
        f"{name}: lines {steps.min()} to {steps.max()} do not fit the header's {columns}; write the header again."
    )


def _require_one_partition(name: str, header: Header, lines: np.ndarray) -> None:
    """Let the lines decide: several partitions are a volume, one is a slice, whatever depth the header declares."""
    if len(np.unique(lines["kspace_encode_step_2"])) > 1:
        raise NotReadError(
            f"{name}: the scan is encoded in three dimensions, and only slices are read; transform it along the third "
            "and write the slices."
        )
    if header.encoded.matrix is not None and header.encoded.matrix[2] > 1:
        say_once(
            f"{name}: the header declares {header.encoded.matrix[2]} partitions, and all lines lie in one; they are "
            "read as slices."
        )


def _with_oversampling(name: str, header: Header, lines: np.ndarray) -> Header:
    """Return the header with the readout that the lines have, where it declares fewer samples.

    Then it gives the matrix of the image, and the readout was sampled more densely: over a larger field of view at the
    same resolution, unless the declared field is that of the oversampled readout already.
    """
    encoded, recon = header.encoded, header.recon
    if encoded.matrix is None or lines["number_of_samples"].max() <= encoded.matrix[0]:
        return header
    samples, echo = lines["number_of_samples"].astype(np.int64), lines["center_sample"].astype(np.int64)
    echo = np.where(echo > 0, echo, samples // 2)
    declared, rows = encoded.matrix[0], 2 * int(np.maximum(echo, samples - echo).max())
    if rows > _MOST_OVERSAMPLING * declared:
        return header
    fov = encoded.fov_mm
    if fov is not None:
        whole = recon.fov_mm is not None and abs(fov[0] / recon.fov_mm[0] / (rows / declared) - 1) < 0.1
        fov = fov if whole else (fov[0] * rows / declared, *fov[1:])
    say_once(
        f"{name}: the header declares {declared} samples a line, and lines have {samples.max()}; they are taken for "
        "an oversampled readout."
    )
    return replace(
        header,
        encoded=EncodingSpace((rows, *encoded.matrix[1:]), fov),
        recon=encoded if recon == EncodingSpace() else recon,
    )


def _along_trajectory(name: str, header: Header, coils: int, lines: np.ndarray) -> Encoding:
    """Settle the sizes of a scan off the grid: pixels as fine as it was encoded, over the reconstructed field of view.

    Positions per pixel are of the encoded space. A reconstructed matrix that was interpolated has other pixels.
    """
    encoded, recon = header.encoded, header.recon
    matrix = recon.matrix or encoded.matrix
    if encoded.matrix is not None and encoded.fov_mm is not None and recon.fov_mm is not None:
        rows, columns = (round(encoded.matrix[n] * recon.fov_mm[n] / encoded.fov_mm[n]) for n in (0, 1))
        matrix = (rows, columns, 1)
    if matrix is None or not 1 < min(matrix[:2]) <= max(matrix[:2]) <= MAX_SIDE:
        raise NotReadError(
            f"{name}: the header of a '{header.trajectory}' scan needs the image's matrix; write it again."
        )
    if (lines["trajectory_dimensions"] < 2).any():
        raise NotReadError(
            f"{name}: the trajectory is '{header.trajectory}', and the acquisitions do not say where they measured; "
            "write their positions ('traj') as well."
        )
    if coils * int(lines["number_of_samples"].sum()) * 8 > MAX_READ_BYTES:
        raise NotReadError(f"{name}: the scan is too large to be read at once; split the file.")
    return Encoding(name, header, coils, matrix[:2], matrix[0], 0, lines[:0])


def _rows_without_oversampling(header: Header, rows: int) -> int:
    """Return the rows whose field of view is that of the reconstructed space."""
    encoded, recon = header.encoded, header.recon
    if encoded.fov_mm is not None and recon.fov_mm is not None:
        target = round(rows * recon.fov_mm[0] / encoded.fov_mm[0])
        return target if 0 < target < rows else rows
    if recon.matrix is not None and recon.matrix[0] * 2 == rows:
        return recon.matrix[0]
    return rows


def say_where_the_centre_is(kspace: Tensor, name: str, file: str) -> None:
    """Say so where the strongest sample is far from the centre that the file declares, on either axis.

    Of an image in one place the energy of k-space peaks at its centre. A wrong centre leaves the magnitude as it is and
    gives the image a phase ramp, which a prior has never seen. The file is not changed: objects may have such a phase.

    Parameters
    ----------
    kspace
        complex64, (coil, y, x).
    name, file
        Of the item, and of its file, whose first slice speaks for all.
    """
    energy = kspace.abs().square().sum(0)
    for axis, what in ((0, "line"), (1, "sample")):
        profile = energy.sum(axis)
        strongest, middle = int(profile.argmax()), len(profile) // 2
        away = abs(strongest - middle)
        if away > max(2, _OFF_CENTRE * len(profile)) and float(profile[strongest]) > 4 * float(profile[middle]):
            NOTICES.say(
                f"{file} {what}",
                f"{name}: the strongest {what} of k-space lies {away} from the centre that the file declares: the "
                f"image has a phase ramp of {away} cycles; if that is no property of the object, write it again",
            )
