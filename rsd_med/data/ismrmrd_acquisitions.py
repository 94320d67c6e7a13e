"""One acquisition of ISMRMRD, whether it lies in a file or came over a wire: its header's numbers, and its samples."""

from typing import Any, Protocol

import numpy as np

from rsd_med.base.errors import DataError
from rsd_med.base.limits import MAX_COILS, MAX_SIDE

MAX_ACQUISITIONS = 1 << 20
"""Most acquisitions of one measurement."""

MAX_SAMPLES = 4 * MAX_SIDE
"""Most samples of one acquisition."""

NOISE, CALIBRATION, CALIBRATION_AND_IMAGING, REVERSE = (1 << bit for bit in (18, 19, 20, 21))
# Navigators, phase correction, feedback, dummies, coil correction, phase stabilisation: no lines of the image.
NO_IMAGE = sum(1 << bit for bit in (22, 23, 25, 26, 27, 28, 29, 30))

COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "slice", "contrast", "phase", "repetition", "set")
SIZES = (
    *("number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample", "encoding_space_ref"),
    "trajectory_dimensions",
)
VECTORS = ("position", "read_dir", "phase_dir", "slice_dir")
INDEX = np.dtype(
    [("record", "i8"), ("flags", "u8"), ("sample_time_us", "f4"), ("positions", "i8")]
    + [(name, "i4") for name in (*SIZES, *COUNTERS)]
    + [(name, "f4", (3,)) for name in VECTORS]
)
"""What is kept of an acquisition's header: numbers without which there is no image. Time stamps are not."""


class Acquisitions(Protocol):
    """Hands out the samples of acquisitions that an index lists."""

    @property
    def where(self) -> str:
        """What to call the place in messages."""

    def samples(self, entry: np.void) -> np.ndarray:
        """Return one acquisition, complex64 (coil, samples), in the order of time, without what is to be discarded.

        Raises
        ------
        DataError
            If it is damaged, or holds NaN or infinities.
        """

    def positions(self, entry: np.void) -> np.ndarray:
        """Return where its samples lie in k-space, float32 (samples, dimensions), in the units of their source.

        Raises
        ------
        DataError
            If it does not say.
        """


def entries_of(head: np.ndarray, records: np.ndarray) -> np.ndarray:
    """Return the entries of the index for acquisition headers.

    Parameters
    ----------
    head
        A structured array (n,), with the names of ISMRMRD's own header.
    records
        Their numbers, int64 (n,).

    Returns
    -------
    numpy.ndarray
        :data:`INDEX` (n,); ``positions`` is 0.
    """
    entries = np.zeros(len(head), INDEX)
    entries["record"] = records
    for name in ("flags", "sample_time_us", *SIZES, *VECTORS):
        entries[name] = head[name]
    for name in COUNTERS:
        entries[name] = head["idx"][name]
    return entries


def require_sizes(entries: np.ndarray, where: str) -> None:
    """Refuse acquisitions whose headers declare sizes that none has.

    Raises
    ------
    DataError
        If one has more samples or channels than are read, or discards more samples than it has.
    """
    samples, coils = entries["number_of_samples"].astype(np.int64), entries["active_channels"].astype(np.int64)
    if samples.max(initial=0) > MAX_SAMPLES or coils.max(initial=0) > MAX_COILS:
        raise DataError(
            f"{where}: an acquisition has {samples.max()} samples and {coils.max()} channels; at most {MAX_SAMPLES} "
            f"and {MAX_COILS} are read."
        )
    discarded = entries["discard_pre"] + entries["discard_post"]
    if (discarded > samples).any():
        number = int(entries["record"][np.argmax(discarded > samples)])
        raise DataError(
            f"{where}: acquisition {number} discards {discarded.max()} samples, more than it has; write it again."
        )


def line_of(values: np.ndarray, entry: np.void, where: str) -> np.ndarray:
    """Return the samples of one acquisition as they are used.

    Parameters
    ----------
    values
        float32 (2 · coils · samples,): real and imaginary parts by turns, as ISMRMRD stores them.
    entry
        Its entry of the index.
    where
        For messages.

    Returns
    -------
    numpy.ndarray
        complex64, (coil, samples), without what the header says to discard.

    Raises
    ------
    DataError
        If the samples hold NaN or infinities.
    """
    number, coils, samples = (int(entry[name]) for name in ("record", "active_channels", "number_of_samples"))
    if not np.isfinite(values).all():
        raise DataError(f"{where}: acquisition {number} holds NaN or infinite values; repair it or leave it out.")
    return values.view(np.complex64).reshape(coils, samples)[:, _used(entry)]


def positions_of(values: np.ndarray, entry: np.void) -> np.ndarray:
    """Return the positions of one acquisition, float32 (samples, dimensions), without those that are discarded."""
    samples, dimensions = int(entry["number_of_samples"]), int(entry["trajectory_dimensions"])
    return values.reshape(samples, dimensions)[_used(entry)]


def require_positions(entry: np.void, where: str) -> None:
    """Refuse an acquisition that does not say where it measured.

    Raises
    ------
    DataError
        If there are no positions of at least two directions, one for each sample.
    """
    number, samples, dimensions = (
        int(entry[name]) for name in ("record", "number_of_samples", "trajectory_dimensions")
    )
    if dimensions < 2 or int(entry["positions"]) != samples * dimensions:
        raise DataError(
            f"{where}: acquisition {number} does not say where in k-space it measured; write 'traj' as well."
        )


def _used(entry: np.void) -> slice:
    return slice(int(entry["discard_pre"]), int(entry["number_of_samples"]) - int(entry["discard_post"]))


def has_numbers(kind: np.dtype[Any]) -> bool:
    """Whether a record has all the numbers of an acquisition's header that are used, in their types."""

    def number(kind: np.dtype[Any], name: str, kinds: str, shape: tuple[int, ...]) -> bool:
        return name in (kind.names or ()) and kind[name].base.kind in kinds and kind[name].shape == shape

    counters = kind["idx"] if "idx" in (kind.names or ()) else kind
    return (
        not kind.hasobject
        and all(number(kind, name, "iu", ()) for name in ("flags", *SIZES))
        and number(kind, "sample_time_us", "f", ())
        and all(number(kind, name, "f", (3,)) for name in VECTORS)
        and all(number(counters, name, "iu", ()) for name in COUNTERS)
    )
