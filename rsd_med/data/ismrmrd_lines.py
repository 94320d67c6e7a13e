"""The lines of one ISMRMRD image: placed in k-space, averaged, and the noise that goes with them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.data.ismrmrd_acquisitions import REVERSE, Acquisitions
from rsd_med.data.ismrmrd_header import Header

MOST_NOISE = 1 << 16
"""Noise samples kept for each coil: a covariance of 128 coils needs no more."""


@dataclass(frozen=True)
class Encoding:
    """How one measurement was encoded: its header, held against its lines.

    Attributes
    ----------
    name
        What messages call it.
    header
        The allow-listed part of its header.
    coils
        Receive channels.
    encoded
        (y, x) as sampled: readout, phase encoding.
    rows
        y after removing readout oversampling.
    centre
        The phase encoding step at the centre of k-space.
    noise
        Entries of the index: the noise scans.
    """

    name: str
    header: Header
    coils: int
    encoded: tuple[int, int]
    rows: int
    centre: int
    noise: np.ndarray


def placed(acquisitions: Acquisitions, lines: np.ndarray, encoding: Encoding) -> tuple[Tensor, np.ndarray]:
    """Return k-space (coil, y, x) with the mean of the averages, and how many there are of each column."""
    rows, columns = encoding.encoded
    total = np.zeros((columns, encoding.coils, rows), np.complex64)
    count = np.zeros(columns, np.int64)
    for entry in lines:
        samples = acquisitions.samples(entry)
        # Without a centre the echo is taken to be symmetric, as converters leave the field empty then.
        centre = int(entry["center_sample"]) or int(entry["number_of_samples"]) // 2
        centre -= int(entry["discard_pre"])
        if int(entry["flags"]) & REVERSE:
            samples, centre = samples[:, ::-1], samples.shape[1] - 1 - centre
        start = rows // 2 - centre
        kept = samples[:, max(0, -start) : max(0, rows - start)]
        column = int(entry["kspace_encode_step_1"]) - encoding.centre + columns // 2
        if not 0 <= column < columns:
            continue  # a separate calibration may reach beyond the image's lines
        first = max(0, start)
        total[column, :, first : first + kept.shape[1]] += kept
        count[column] += 1
    total /= np.maximum(count, 1)[:, None, None].astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(total.transpose(1, 2, 0))), count


def along_trajectory(acquisitions: Acquisitions, lines: np.ndarray, coils: int) -> tuple[Tensor, Tensor]:
    """Return the samples (coil, 1, n) of acquisitions off the grid, and their positions (n, 2) in the file's units.

    ISMRMRD's x is the readout direction, which is y here. A third number may be a weight of the sample's density, which
    is not used, or zero; a third direction of k-space is refused.

    Raises
    ------
    DataError
        If the positions are those of a volume.
    """
    samples = [acquisitions.samples(entry) for entry in lines]
    positions = [acquisitions.positions(entry) for entry in lines]
    if any((position[:, 2:] < 0).any() for position in positions):
        raise DataError(
            f"{acquisitions.where}: the trajectory has three directions, and only slices are read; "
            "transform it along the third and write the slices."
        )
    kspace = np.concatenate(samples, axis=1).reshape(coils, 1, -1)
    return torch.from_numpy(kspace), torch.from_numpy(np.concatenate([position[:, :2] for position in positions]))


def noise_samples(
    acquisitions: Acquisitions, encoding: Encoding, lines: np.ndarray, averages: np.ndarray
) -> Tensor | None:
    """Return noise samples (coil, n), scaled to the noise of one entry of k-space.

    White noise of a receiver grows with its bandwidth, the inverse of the dwell time; the relative noise bandwidth
    says how much of it the receiver's filter keeps on average (Kellman & McVeigh, Magn Reson Med 54:1439, 2005).
    """
    parts, size = [], 0
    for entry in encoding.noise:
        if size >= MOST_NOISE:
            break
        parts.append(acquisitions.samples(entry)[:, : MOST_NOISE - size])
        size += parts[-1].shape[1]
    if size == 0:
        return None
    dwell, of_noise = float(lines["sample_time_us"][0]), float(encoding.noise["sample_time_us"][0])
    ratio = of_noise / dwell if 0 < dwell < 1e6 and 0 < of_noise < 1e6 else 1.0
    ratio /= encoding.header.noise_bandwidth or 1.0
    ratio *= float(np.mean(1 / averages[averages > 0]))
    return torch.from_numpy(np.concatenate(parts, axis=1) * np.float32(np.sqrt(ratio)))
