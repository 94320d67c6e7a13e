"""From scans and pictures to measurements: the corruption that each item of a data set suffers, once and for all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.notices import FirstOf
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.calibrate import CalibratedScan, calibrate
from rsd_med.calibration.coil_maps import NEEDED
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions import Corruption, ImageCorruption, Measurement, MultiCoilUndersampling
from rsd_med.data.prepared import PreparedMeasurements
from rsd_med.data.scan import Picture, Scan
from rsd_med.data.simulation import single_coil_scan
from rsd_med.data.source import Source
from rsd_med.operators.fourier import ifft2c

DEFAULT_CACHE_BYTES = 2 << 30

_WRAPPED = FirstOf("others like it are not named; leave such scans out")


class MeasurementDataset:
    """The measurements of a source: item i is corrupted in the same way whenever it is asked for.

    A scan under ``multicoil_fourier`` becomes masked k-space; nothing outside its mask influences anything, neither
    data nor scale nor coil maps. A scan under a corruption of images becomes its coil-combined complex image, which
    needs a fully sampled scan. A picture becomes an image, or under ``fourier`` the k-space of a single coil.

    Parameters
    ----------
    source
        Scans or pictures.
    corruption
        What happens to them.
    seed
        The run's seed; the draws for an item derive from it and the item's id alone.
    calibration
        From raw scans to measurements; None takes the defaults. Whatever it asks for, there is one set of coil maps: a
        network learns images of one. The scans of pictures are simulated without noise, so that there is none to
        measure.
    cache_bytes
        Prepared items are kept in memory until they take this much.
    prepared
        Where prepared scans of files are stored for good; None prepares them anew each time.
    """

    def __init__(
        self,
        source: Source,
        corruption: Corruption,
        seed: int,
        calibration: CalibrationSettings | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        prepared: PreparedMeasurements | None = None,
    ) -> None:
        self.source = source
        self.corruption = corruption
        self.seed = seed
        self.calibration = (calibration if calibration is not None else CalibrationSettings()).with_one_set()
        self.cache_bytes = cache_bytes
        self.prepared = prepared
        self._kept: dict[int, Measurement] = {}
        self._kept_bytes = 0
        self._scans: bool | None = None

    def share_cache(self, readers: int) -> None:
        """Leave memory for the caches of other readers: this one keeps its share of the bytes."""
        self.cache_bytes //= readers

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.source)

    def id(self, index: int) -> str:
        """Return the id of an item."""
        return self.source.id(index)

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of an item's data without its batch axis; at most the first item is read."""
        shape = self.source.shape(index)
        if not self._holds_scans():
            return shape
        coils = 1 if isinstance(self.corruption, ImageCorruption) else self.calibration.virtual_coils
        return shape if coils is None else (min(coils, shape[0]), *shape[1:])

    def groups(self) -> dict[tuple[int, ...], list[int]]:
        """Return the indices of the items of each shape: only items of one group can share a batch."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for index in range(len(self)):
            groups.setdefault(self.shape(index), []).append(index)
        return groups

    def __getitem__(self, index: int) -> Measurement:
        """Return one measurement, a batch of one.

        Raises
        ------
        IndexError
            Past the end.
        DataError
            If the item is damaged, or gives no scale or coil maps.
        ProtocolError
            If the corruption does not fit the item.
        """
        index = range(len(self))[index]
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        measurement = self._stored_or_measured(index)
        size = _bytes(measurement)
        if self._kept_bytes + size <= self.cache_bytes:
            self._kept[index] = measurement
            self._kept_bytes += size
        return measurement

    @property
    def reads_files(self) -> bool:
        """Whether items have to be read from files again and again: there are some, and they do not fit in memory."""
        if len(self) == 0 or self.source.origin(0) is None:
            return False
        coils, rows, columns = self.shape(0)
        return 2 * 8 * coils * rows * columns * len(self) > self.cache_bytes

    def expect(self, indices: Sequence[int]) -> None:
        """Tell the source which items are read next, other than those that are prepared."""
        missing = [index for index in indices if index not in self._kept and not self._is_stored(index)]
        if missing:
            self.source.expect(missing)

    def reference(self, index: int) -> Tensor:
        """Return the clean image of an item, for evaluation only: training never asks.

        Parameters
        ----------
        index
            Which item; its scan must be fully sampled.

        Returns
        -------
        Tensor
            (C, y, x) in the scaled units of the item's measurement: complex64 for scans and complex pictures, float32
            for other pictures. A scan's is S^H F^H k with the maps of the measurement.

        Raises
        ------
        IndexError
            Past the end.
        DataError
            If the scan is undersampled, so that no clean image exists.
        """
        item = self._read(range(len(self))[index])
        if isinstance(item, Picture):
            return item.image
        _require_fully_sampled(item, "has no reference image")
        with _named(item):
            scan = self._calibrated(item, self._generator(item))
        return _combined(item, scan)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the kept items behind: a worker process fills its own memory."""
        return {**self.__dict__, "_kept": {}, "_kept_bytes": 0}

    def _holds_scans(self) -> bool:
        if self._scans is None:
            self._scans = len(self.source) > 0 and isinstance(self.source[0], Scan)
        return self._scans

    def _read(self, index: int) -> Scan | Picture:
        item = self.source[index]
        corruption = self.corruption
        single_coil = isinstance(corruption, MultiCoilUndersampling) and corruption.single_coil
        return single_coil_scan(item) if single_coil and isinstance(item, Picture) else item

    def _is_stored(self, index: int) -> bool:
        origin = None if self.prepared is None else self.source.origin(index)
        return self.prepared is not None and origin is not None and self.prepared.holds(origin)

    def _stored_or_measured(self, index: int) -> Measurement:
        origin = None if self.prepared is None else self.source.origin(index)
        if self.prepared is None or origin is None:
            return self._measure(self._read(index))
        stored = self.prepared.load(origin, self.id(index))
        if stored is not None:
            return stored
        measurement = self._measure(self._read(index))
        self.prepared.save(origin, measurement)
        return measurement

    def _generator(self, item: Scan | Picture) -> Draws:
        return generator_for(self.seed, "corruption", item.id)

    def _measure(self, item: Scan | Picture) -> Measurement:
        generator = self._generator(item)
        with _named(item):
            if isinstance(item, Picture):
                return self._image_corruption("images").measure_image(item.image, item.id, generator)
            scan = self._calibrated(item, generator)
            if isinstance(self.corruption, MultiCoilUndersampling):
                return scan.measurement(item.id)
            # The scan's image counts as the clean one here: σ is that of the corruption alone.
            corruption = self._image_corruption("k-space")
            measurement = corruption.measure_image(_combined(item, scan), item.id, generator)
            return replace(measurement, scale=torch.full((1,), scan.scale))

    def _calibrated(self, scan: Scan, generator: Draws) -> CalibratedScan:
        """Calibrate a scan, undersampled and with noise as the corruption says."""
        corruption = self.corruption
        if not isinstance(corruption, MultiCoilUndersampling):
            _require_fully_sampled(scan, f"gives no image for the corruption '{type(corruption).__name__}'")
            return calibrate(scan, self.calibration)
        if scan.trajectory is not None:
            raise ProtocolError("Non-Cartesian scans are reconstructed, not trained on; choose Cartesian ones.")
        coils, rows, columns = scan.kspace.shape
        if coils > 1 and corruption.single_coil:
            raise ProtocolError(f"The scan has {coils} coils; set corruption.kind: multicoil_fourier.")
        mask = None
        if corruption.mask == "draw":
            _require_fully_sampled(scan, "cannot be undersampled again (set corruption.mask: file)")
            mask = corruption.draw_mask(columns, generator, scan.acquired, rows)
        settings = self.calibration if self._holds_scans() else self.calibration.without_noise()
        calibrated = calibrate(
            scan, settings, mask, corruption.settings.acs_lines, added_sigma=corruption.sigma, generator=generator
        )
        wrapped = calibrated.report["maps"]["second_eigenvalue"] or 0.0
        if wrapped > NEEDED:
            _WRAPPED.say(
                "second eigenvalue",
                f"{scan.id}: in {wrapped:.0%} of the signal two places fall on one pixel (field of view smaller than "
                "the object), and one map of each coil, as training takes it, is wrong there",
            )
        return calibrated

    def _image_corruption(self, given: str) -> ImageCorruption:
        if not isinstance(self.corruption, ImageCorruption):
            raise ProtocolError(
                f"The data are {given}, which the corruption '{type(self.corruption).__name__}' does not apply to; "
                "choose another corruption.kind or data.kind."
            )
        return self.corruption


def collate(items: Sequence[Measurement]) -> Measurement:
    """Stack measurements of one shape to a batch, as a data loader's ``collate_fn``.

    Raises
    ------
    ValueError
        If there is none, or if their shapes differ: draw batches from one of :meth:`MeasurementDataset.groups`.
    """
    return Measurement.cat(items)


@contextmanager
def _named(item: Scan | Picture) -> Iterator[None]:
    """Say of which item an error speaks."""
    try:
        yield
    except (DataError, ProtocolError) as error:
        raise type(error)(f"{item.id}: {error}") from error


def _require_fully_sampled(scan: Scan, consequence: str) -> None:
    """Refuse scans with gaps; columns missing at the edges are a lower resolution, no gap."""
    if scan.gaps:
        raise DataError(f"The scan is undersampled and {consequence}; use fully sampled scans.")


def _combined(full: Scan, scan: CalibratedScan) -> Tensor:
    """Return S^H F^H k of the fully sampled scan in scaled units, complex64, (1, y, x)."""
    kspace = scan.coils(torch.where(full.acquired, full.kspace, 0))
    return (scan.maps.conj() * ifft2c(kspace)).sum(0, keepdim=True) / scan.scale


def _bytes(measurement: Measurement) -> int:
    return sum(tensor.nbytes for tensor in (measurement.data, *measurement.operator.state().values()))
