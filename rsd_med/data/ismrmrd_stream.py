"""Acquisitions that arrive one after the other, as a scanner sends them, and the slices that they make.

The fixed header is that of ISMRMRD, version 1, 340 bytes, little-endian and without gaps
(https://github.com/ismrmrd/ismrmrd/blob/master/doc/mrd_raw_data.md).
"""

import numpy as np

from rsd_med.base.errors import DataError
from rsd_med.data.ismrmrd_acquisitions import (
    MAX_ACQUISITIONS,
    entries_of,
    line_of,
    positions_of,
    require_positions,
    require_sizes,
)
from rsd_med.data.ismrmrd_header import Header
from rsd_med.data.ismrmrd_images import RawImage, images_of, scan_of
from rsd_med.data.scan import Scan
from rsd_med.data.source import Source

COUNTERS = np.dtype(
    [
        (name, "<u2")
        for name in (
            *("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase"),
            *("repetition", "set", "segment"),
        )
    ]
    + [("user", "<u2", (8,))]
)
"""Where an acquisition belongs in the loops of its sequence."""

ACQUISITION = np.dtype(
    [
        ("version", "<u2"),
        ("flags", "<u8"),
        ("measurement_uid", "<u4"),
        ("scan_counter", "<u4"),
        ("acquisition_time_stamp", "<u4"),
        ("physiology_time_stamp", "<u4", (3,)),
        ("number_of_samples", "<u2"),
        ("available_channels", "<u2"),
        ("active_channels", "<u2"),
        ("channel_mask", "<u8", (16,)),
        ("discard_pre", "<u2"),
        ("discard_post", "<u2"),
        ("center_sample", "<u2"),
        ("encoding_space_ref", "<u2"),
        ("trajectory_dimensions", "<u2"),
        ("sample_time_us", "<f4"),
        ("position", "<f4", (3,)),
        ("read_dir", "<f4", (3,)),
        ("phase_dir", "<f4", (3,)),
        ("slice_dir", "<f4", (3,)),
        ("patient_table_position", "<f4", (3,)),
        ("idx", COUNTERS),
        ("user_int", "<i4", (8,)),
        ("user_float", "<f4", (8,)),
    ]
)
"""The fixed header of an acquisition."""

OVERHEAD_BYTES = 1024
"""What keeping one acquisition costs beside its samples."""

_MOST_DIMENSIONS = 3


class ReceivedLines:
    """The acquisitions of one measurement, kept as they came.

    Parameters
    ----------
    name
        What messages call the measurement, and how the ids of its items begin.
    header
        Its header.
    """

    def __init__(self, name: str, header: Header) -> None:
        self.where = name
        self._header = header
        self._heads: list[bytes] = []
        self._samples: list[bytes] = []
        self._positions: list[bytes] = []

    def __len__(self) -> int:
        """Return how many acquisitions have come."""
        return len(self._heads)

    def sizes(self, head: bytes) -> tuple[int, int]:
        """Return how many bytes follow a header: those of the positions, and those of the samples.

        Parameters
        ----------
        head
            340 bytes.

        Raises
        ------
        DataError
            If it is of another version, or declares what no acquisition has.
        """
        if len(self) >= MAX_ACQUISITIONS:
            raise DataError(f"{self.where}: more than {MAX_ACQUISITIONS} acquisitions were sent; split the scan.")
        fields = np.frombuffer(head, ACQUISITION)
        version, dimensions = int(fields["version"][0]), int(fields["trajectory_dimensions"][0])
        if version != 1:
            raise DataError(f"{self.where}: an acquisition's header has version {version}, and 1 is read.")
        require_sizes(entries_of(fields, np.array([len(self)])), self.where)
        if dimensions > _MOST_DIMENSIONS:
            raise DataError(f"{self.where}: a trajectory of {dimensions} dimensions was sent; at most 3 are read.")
        samples, channels = int(fields["number_of_samples"][0]), int(fields["active_channels"][0])
        return 4 * samples * dimensions, 8 * samples * channels

    def add(self, head: bytes, positions: bytes, samples: bytes) -> None:
        """Keep an acquisition: its header, and what follows it, of the lengths that `sizes` tells."""
        self._heads.append(head)
        self._positions.append(positions)
        self._samples.append(samples)

    def samples(self, entry: np.void) -> np.ndarray:
        """Return one acquisition, complex64 (coil, samples); DataError if it is NaN or infinite."""
        return line_of(np.frombuffer(self._samples[int(entry["record"])], "<f4"), entry, self.where)

    def positions(self, entry: np.void) -> np.ndarray:
        """Return where its samples lie, float32 (samples, dimensions); DataError if it does not say."""
        require_positions(entry, self.where)
        return positions_of(np.frombuffer(self._positions[int(entry["record"])], "<f4"), entry)

    def source(self) -> "ReceivedScan":
        """Return the slices that the acquisitions make.

        Raises
        ------
        DataError
            If they make none, or are encoded in a way that is not read.
        """
        heads = np.frombuffer(b"".join(self._heads), ACQUISITION)
        index = entries_of(heads, np.arange(len(heads)))
        index["positions"] = [len(positions) // 4 for positions in self._positions]
        return ReceivedScan(self, heads, images_of(index, self._header, self.where, self.where))


class ReceivedScan(Source):
    """The slices of a measurement that has arrived.

    Parameters
    ----------
    lines
        Its acquisitions.
    heads
        Their headers.
    volumes
        The images they make.
    """

    def __init__(self, lines: ReceivedLines, heads: np.ndarray, volumes: list[list[RawImage]]) -> None:
        self._lines = lines
        self._heads = heads
        self._images = [image for volume in volumes for image in volume]
        ends = np.cumsum([len(volume) for volume in volumes]).tolist()
        self._stacks = tuple(range(end - len(volume), end) for end, volume in zip(ends, volumes, strict=True))

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self._images)

    def __getitem__(self, index: int) -> Scan:
        """Return one slice; DataError if it holds NaN or infinities, or nothing at all."""
        return scan_of(self._images[index], self._lines)

    def shape(self, index: int) -> tuple[int, int, int]:
        """Return (coil, y, x)."""
        encoding = self._images[index].encoding
        return encoding.coils, encoding.rows, encoding.encoded[1]

    def id(self, index: int) -> str:
        """Return the measurement's name, the slice, and what tells items apart."""
        return self._images[index].name

    def stacks(self) -> tuple[range, ...]:
        """Return the slices of each volume."""
        return self._stacks

    def head(self, index: int) -> np.void:
        """Return the header of a slice's first line (:data:`ACQUISITION`)."""
        head: np.void = self._heads[int(self._images[index].lines["record"][0])]
        return head

    def header(self, index: int) -> Header:
        """Return the measurement's header."""
        return self._images[index].encoding.header
