"""From scans and pictures to measurements: the corruption that each item of a data set suffers, once and for all."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.coil_maps import CoilMapSettings, chosen_maps, coil_maps
from rsd_med.calibration.noise import estimate_noise
from rsd_med.calibration.quality import map_quality, require_explained
from rsd_med.calibration.scale import acs_scale, central_run, central_width, scan_scale
from rsd_med.corruptions import Corruption, ImageCorruption, Measurement, MultiCoilUndersampling
from rsd_med.corruptions.fourier import SingleCoilUndersampling
from rsd_med.data.scan import Picture, Scan
from rsd_med.data.simulation import single_coil_scan
from rsd_med.data.source import Source
from rsd_med.operators.fourier import ifft2c
from rsd_med.operators.mri import MultiCoilFourier

DEFAULT_CACHE_BYTES = 2 << 30

REFERENCE_ACS_LINES = 24
"""Side of the central square that scales a scan where no corruption says how many ACS lines there are."""


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
    maps
        How coil maps are found; None takes the defaults.
    cache_bytes
        Prepared items are kept in memory until they take this much.
    """

    def __init__(
        self,
        source: Source,
        corruption: Corruption,
        seed: int,
        maps: CoilMapSettings | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self.source = source
        self.corruption = corruption
        self.seed = seed
        self.maps = maps if maps is not None else CoilMapSettings()
        self.cache_bytes = cache_bytes
        self._kept: dict[int, Measurement] = {}
        self._kept_bytes = 0
        self._scans: bool | None = None

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.source)

    def id(self, index: int) -> str:
        """Return the id of an item."""
        return self.source.id(index)

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of an item's data without its batch axis; at most the first item is read."""
        shape = self.source.shape(index)
        if self._holds_scans() and isinstance(self.corruption, ImageCorruption):
            return (1, *shape[1:])
        return shape

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
        measurement, _ = self._measure(self._read(index))
        size = _bytes(measurement)
        if self._kept_bytes + size <= self.cache_bytes:
            self._kept[index] = measurement
            self._kept_bytes += size
        return measurement

    def expect(self, indices: Sequence[int]) -> None:
        """Tell the source which items are read next, other than those kept in memory."""
        missing = [index for index in indices if index not in self._kept]
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
        measurement, maps = self._measure(item)
        return _combined(item.kspace, maps) / measurement.scale

    def __getstate__(self) -> dict[str, Any]:
        """Leave the kept items behind: a worker process fills its own memory."""
        return {**self.__dict__, "_kept": {}, "_kept_bytes": 0}

    def _holds_scans(self) -> bool:
        if self._scans is None:
            self._scans = len(self.source) > 0 and isinstance(self.source[0], Scan)
        return self._scans

    def _read(self, index: int) -> Scan | Picture:
        item = self.source[index]
        if isinstance(item, Picture) and isinstance(self.corruption, SingleCoilUndersampling):
            return single_coil_scan(item)
        return item

    def _measure(self, item: Scan | Picture) -> tuple[Measurement, Tensor]:
        """Return an item's measurement and the coil maps behind it (empty for a picture)."""
        generator = generator_for(self.seed, "corruption", item.id)
        try:
            if isinstance(item, Picture):
                return self._measure_picture(item, generator), torch.empty(0)
            if isinstance(self.corruption, MultiCoilUndersampling):
                return self._measure_scan(item, self.corruption, generator)
            return self._measure_coil_combined(item, generator)
        except (DataError, ProtocolError) as error:
            raise type(error)(f"{item.id}: {error}") from error

    def _measure_picture(self, picture: Picture, generator: torch.Generator) -> Measurement:
        return self._image_corruption("images").measure_image(picture.image, picture.id, generator)

    def _measure_scan(
        self, scan: Scan, corruption: MultiCoilUndersampling, generator: torch.Generator
    ) -> tuple[Measurement, Tensor]:
        coils, rows, columns = scan.kspace.shape
        if coils > 1 and isinstance(corruption, SingleCoilUndersampling):
            raise ProtocolError(f"The scan has {coils} coils; set corruption.kind: multicoil_fourier.")
        if corruption.mask == "file":
            sampled = scan.acquired
        else:
            _require_fully_sampled(scan, "cannot be undersampled again (set corruption.mask: file)")
            sampled = corruption.draw_mask(columns, generator, scan.acquired, rows) & scan.acquired
        if scan.readout is not None and not bool(scan.readout.all()):
            sampled = sampled & scan.readout[:, None]
        kspace = torch.where(sampled, scan.kspace, 0)
        wanted = corruption.acs_lines or scan.acs_lines or 0
        scale, _ = scan_scale(kspace, sampled, wanted)
        mask = sampled.reshape(1, 1, -1, columns)
        # The noise goes to the sampled entries, whatever the maps; these come from the data with their noise.
        sampling = MultiCoilFourier(
            mask, torch.zeros(1, coils, 1, 1, dtype=torch.complex64).expand(-1, -1, rows, columns)
        )
        data = corruption.add_noise(kspace[None] / scale, sampling, generator)
        maps, kind = chosen_maps(data[0], sampled, self.maps, scan.maps)
        if kind == "file":
            _require_fitting(maps, data[0], sampled, corruption.sigma)
        measurement = Measurement(
            data=data,
            operator=MultiCoilFourier(mask, maps[None]),
            sigma=torch.full((1,), corruption.sigma),
            scale=torch.full((1,), scale),
            ids=(scan.id,),
            acquired=None if bool(scan.acquired.all()) else scan.acquired[None],
        )
        return measurement, maps

    def _measure_coil_combined(self, scan: Scan, generator: torch.Generator) -> tuple[Measurement, Tensor]:
        corruption = self._image_corruption("k-space")
        _require_fully_sampled(scan, f"gives no image for the corruption '{type(corruption).__name__}'")
        scale = acs_scale(scan.kspace, min(REFERENCE_ACS_LINES, central_run(scan.acquired)))
        maps = coil_maps(scan.kspace, scan.acquired, self.maps, scan.maps)
        image = _combined(scan.kspace, maps) / scale
        measurement = corruption.measure_image(image, scan.id, generator)
        return replace(measurement, scale=torch.full((1,), scale)), maps

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


def _require_fully_sampled(scan: Scan, consequence: str) -> None:
    """Refuse scans with gaps; columns missing at the edges are a lower resolution, no gap."""
    columns = torch.nonzero(scan.acquired).flatten()
    if len(columns) == 0 or len(columns) != int(columns[-1] - columns[0]) + 1:
        raise DataError(f"The scan is undersampled and {consequence}; use fully sampled scans.")


def _require_fitting(maps: Tensor, kspace: Tensor, sampled: Tensor, sigma: float) -> None:
    """Refuse maps from a file that do not explain the scan: of another slice, turned, in another order of coils."""
    if central_width(sampled, kspace.shape[-2]) == 0:
        return  # nothing to hold them against
    quality = map_quality(maps, kspace, sampled, sigma)
    if not quality.explains:
        noise = estimate_noise(kspace, sampled)  # the scan may have had noise of its own
        quality = map_quality(maps, kspace, sampled, max(sigma, noise.sigma) if noise is not None else sigma)
    require_explained(quality)


def _combined(kspace: Tensor, maps: Tensor) -> Tensor:
    """Return S^H F^H k, complex64, (1, y, x)."""
    return (maps.conj() * ifft2c(kspace)).sum(0, keepdim=True)


def _bytes(measurement: Measurement) -> int:
    tensors = [measurement.data]
    if isinstance(measurement.operator, MultiCoilFourier):
        tensors += [measurement.operator.maps, measurement.operator.mask]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
