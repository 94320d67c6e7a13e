"""Reading k-space: slices a second beside the access pattern of fastMRI's own data set, and memory over a long pass.

``python -m benchmarks.data [--quick]``: 20 copies of one file of the shared data, in random order. Two figures are
bounds (at least twice the slices a second, cold and warm), one is memory (peak within 2 % after warming up), one the
time of one core that a prepared slice takes (15 coils, 320 × 368, R = 4, in the page cache).

*Warm* is the best of interleaved passes with everything in the page cache and files already open. *Cold* is a source
that was only just made, over files that the page cache was asked to forget. fastMRI's ``SliceDataset`` is used where
the package is installed; else its documented access pattern is: for every item open the file, read the slice of
k-space, the mask, the slice of the reconstruction and the attributes, close the file.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import Figure, conclude, shared_data

COPIES = 20
FILE = "synth_multicoil_train_0.h5"
LONG_PASS = 50_000
BATCH = 32
"""Items announced at once: the batch size of the protocols."""


class OpenEachTime:
    """The access pattern of fastMRI's ``SliceDataset``, in our own words: one opening for every item."""

    def __init__(self, folder: Path) -> None:
        import h5py

        self.items = []
        for path in sorted(folder.iterdir()):
            with h5py.File(path) as file:
                self.items += [(path, number) for number in range(file["kspace"].shape[0])]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        import h5py
        import numpy as np

        path, number = self.items[index]
        with h5py.File(path) as file:
            kspace = file["kspace"][number]
            mask = np.asarray(file["mask"]) if "mask" in file else None
            target = file["reconstruction_rss"][number] if "reconstruction_rss" in file else None
            return kspace, mask, target, dict(file.attrs), path.name, number


class KeptOpen:
    """Plain h5py with every file open: what a reader without any check can reach."""

    def __init__(self, folder: Path) -> None:
        import h5py

        self.items = [
            (dataset, number)
            for path in sorted(folder.iterdir())
            for dataset in [h5py.File(path)["kspace"]]
            for number in range(dataset.shape[0])
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        dataset, number = self.items[index]
        return dataset[number]


def fastmri_slices(folder: Path) -> tuple[Any, str]:
    """Return fastMRI's own data set where it is installed, else its access pattern; and which."""
    try:
        from fastmri.data import SliceDataset
    except ImportError:
        return OpenEachTime(folder), "its access pattern (the package is not installed)"
    return SliceDataset(folder, challenge="multicoil"), "fastmri.data.SliceDataset"


def ours(folder: Path) -> Any:
    """Return our source, handing out the stored rows as ``SliceDataset`` does."""
    from rsd_med.data.fastmri_hdf5 import FastMRIHDF5

    return FastMRIHDF5(folder, remove_readout_oversampling=False)


def ours_cropped(folder: Path) -> Any:
    """Return our source as protocols use it: the readout's oversampling removed by two Fourier transforms."""
    from rsd_med.data.fastmri_hdf5 import FastMRIHDF5

    return FastMRIHDF5(folder)


def seconds(source: Any, order: Sequence[int], batch_size: int = 0) -> float:
    """Return the seconds of one pass; with a batch size, each batch is announced before, as in training."""
    began = time.perf_counter()
    for start in range(0, len(order), batch_size or len(order)):
        batch = order[start : start + (batch_size or len(order))]
        if batch_size:
            source.expect(batch)
        for index in batch:
            source[index]
    return time.perf_counter() - began


def forget(folder: Path) -> None:
    """Ask the page cache to forget the files (it may decline; then cold is only as cold as a new source)."""
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def resident_mib() -> float:
    """Return the memory that this process holds now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_warm(folder: Path, passes: int) -> dict[str, float]:
    """Return slices a second of each reader: the best of interleaved passes, each over its own open source."""
    makers: dict[str, Callable[[Path], Any]] = {
        "SliceDataset": lambda place: fastmri_slices(place)[0],
        "h5py kept open": KeptOpen,
        "rsd_med": ours,
        "rsd_med, cropped": ours_cropped,
    }
    sources = {name: make(folder) for name, make in makers.items()}
    order = list(range(len(sources["rsd_med"])))
    random.Random(0).shuffle(order)
    best = dict.fromkeys(sources, float("inf"))
    for _ in range(passes):
        for name, source in sources.items():
            best[name] = min(best[name], seconds(source, order))
    return {name: len(order) / value for name, value in best.items()}


def measure_cold(folder: Path, passes: int) -> tuple[float, dict[str, float]]:
    """Return the median ratio of cold passes, each pair one after the other, and slices a second of the best."""
    ratios, best = [], {"SliceDataset": float("inf"), "rsd_med": float("inf")}
    for number in range(passes):
        order = list(range(2 * COPIES))
        random.Random(number).shuffle(order)
        taken = {}
        for name, make in {"SliceDataset": lambda place: fastmri_slices(place)[0], "rsd_med": ours}.items():
            source = make(folder)
            forget(folder)
            taken[name] = seconds(source, order, BATCH if make is ours else 0)
            best[name] = min(best[name], taken[name])
        ratios.append(taken["SliceDataset"] / taken["rsd_med"])
    return median(ratios), {name: 2 * COPIES / value for name, value in best.items()}


def measure_memory(folder: Path, reads: int) -> tuple[float, list[float]]:
    """Return by how many per cent memory moved over a long pass after its first tenth, and the memory in MiB."""
    source = ours(folder)
    choose = random.Random(0)
    held = []
    for number in range(reads):
        source[choose.randrange(len(source))]
        if number >= reads // 10 and number % max(reads // 500, 1) == 0:
            held.append(resident_mib())
    return 100 * max(max(held) / held[0] - 1, 1 - min(held) / held[0]), held


def measure_prepared(folder: Path, reads: int) -> tuple[float, float]:
    """Return core-seconds of preparing a slice of 15 coils for the first time, and of reading it when it is stored."""
    import h5py
    import torch

    from rsd_med.calibration.map_settings import CoilMapSettings
    from rsd_med.calibration.settings import CalibrationSettings
    from rsd_med.corruptions import MultiCoilFourierSettings
    from rsd_med.data.coils import birdcage_maps
    from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
    from rsd_med.data.measurements import MeasurementDataset
    from rsd_med.data.prepared import PreparedMeasurements
    from rsd_med.operators.fourier import fft2c

    draws = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 320), torch.linspace(-1, 1, 368), indexing="ij")
    kspace = fft2c(birdcage_maps(15, (320, 368), draws) * ((y**2 + x**2) < 0.6))
    noise = 0.01 * torch.view_as_complex(torch.randn(*kspace.shape, 2, generator=draws))
    with h5py.File(folder / "knee.h5", "w") as file:
        file["kspace"] = (kspace + noise)[None].numpy()
    corruption = MultiCoilFourierSettings(acceleration=4, acs_lines=20)
    store = PreparedMeasurements((corruption.model_dump(),), 1 << 30, str(folder))
    source = FastMRIHDF5(folder / "knee.h5")
    calibration = CalibrationSettings(maps=CoilMapSettings(cache=False))

    def core_seconds() -> float:
        dataset = MeasurementDataset(source, corruption.build(), 0, calibration, cache_bytes=0, prepared=store)
        began = time.process_time()
        assert len(dataset[0]) == 1  # its checksum has read all that is mapped
        return time.process_time() - began

    return core_seconds(), median(core_seconds() for _ in range(reads))


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few passes: for correctness, not for time")
    options = parser.parse_args()
    original = shared_data("fastmri_format") / FILE
    reads = LONG_PASS // 50 if options.quick else LONG_PASS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in range(COPIES):
            shutil.copyfile(original, folder / f"copy_{number:02d}.h5")
        used = fastmri_slices(folder)[1]
        warm = measure_warm(folder, 3 if options.quick else 40)
        cold_ratio, cold = measure_cold(folder, 3 if options.quick else 15)
        moved, held = measure_memory(folder, reads)
    with tempfile.TemporaryDirectory() as temporary:
        first, prepared = measure_prepared(Path(temporary), 5 if options.quick else 50)
    bound = None if options.quick else 2.0
    figures = [
        Figure("warm: slices/s over SliceDataset's", warm["rsd_med"] / warm["SliceDataset"], bound, at_most=False),
        Figure("cold: slices/s over SliceDataset's", cold_ratio, bound, at_most=False),
        Figure(f"memory over {reads:,} reads, % moved", moved, 2.0),
        Figure("prepared slice of 15 coils, 320 × 368, R = 4: core-seconds", prepared, None if options.quick else 0.02),
        Figure("the same prepared for the first time: core-seconds", first),
        *(Figure(f"warm: {name}, slices/s", value) for name, value in warm.items()),
        *(Figure(f"cold: {name}, slices/s", value) for name, value in cold.items()),
        Figure("peak memory, MiB", max(held)),
    ]
    details = {"data": f"{COPIES} copies of {FILE} (2 slices of 4 × 256 × 128)", "compared with": used}
    print(f"compared with {used}")
    return conclude("data-quick" if options.quick else "data", figures, details)


if __name__ == "__main__":
    sys.exit(main())
