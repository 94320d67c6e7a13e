"""Coil maps from files: every layout gives the same maps; what does not fit is refused in a sentence."""

import h5py
import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.data.map_files import WithMaps, read_maps
from rsd_med.data.scan import Scan
from rsd_med.data.source import Source

COILS, ROWS, COLUMNS = 3, 6, 5


class Slices(Source):
    """A volume of scans of zeros."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return Scan(f"s{index}", torch.zeros(COILS, ROWS, COLUMNS, dtype=torch.complex64), torch.ones(COLUMNS) > 0)

    def shape(self, index):
        return COILS, ROWS, COLUMNS

    def id(self, index):
        return f"s{index}"

    def stacks(self):
        return (range(self.count),)


def drawn(*shape):
    numbers = np.random.default_rng(0).standard_normal((2, *shape))
    return (numbers[0] + 1j * numbers[1]).astype(np.complex64)


def written(folder, layout, maps):
    """Write maps (slice, set, coil, y, x) as a user would."""
    if layout == "cfl":
        sizes = [1] * 16
        sizes[0], sizes[1], sizes[3], sizes[4], sizes[13] = ROWS, COLUMNS, COILS, maps.shape[1], maps.shape[0]
        (folder / "maps.hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + "\n")
        # BART's first dimension varies fastest: (y, x, coil, set, slice) from left to right
        maps.transpose(0, 1, 2, 4, 3).tofile(folder / "maps.cfl")
        return folder / "maps"
    if layout == "hdf5":
        with h5py.File(folder / "maps.h5", "w") as file:
            file["sensitivity_maps"] = maps
        return folder / "maps.h5"
    np.save(folder / "maps.npy", maps)
    return folder / "maps.npy"


@pytest.mark.parametrize("layout", ["cfl", "hdf5", "npy"])
def test_every_layout_gives_the_same_maps(tmp_path, layout):
    maps = drawn(2, 2, COILS, ROWS, COLUMNS)
    path = written(tmp_path, layout, maps)
    assert torch.equal(read_maps(path), torch.from_numpy(maps))
    source = WithMaps(Slices(2), path)
    for number in (0, 1):
        assert torch.equal(source[number].maps, torch.from_numpy(maps[number]))
    with pytest.raises(DataError, match="maps of 2 slices"):
        WithMaps(Slices(3), path)[2]


def test_one_slice_serves_all_and_shorter_shapes_are_filled_up(tmp_path):
    maps = drawn(COILS, ROWS, COLUMNS)
    np.save(tmp_path / "one.npy", maps)
    np.save(tmp_path / "slices.npy", maps[None])
    for name in ("one.npy", "slices.npy"):
        assert torch.equal(WithMaps(Slices(3), tmp_path / name)[2].maps[0], torch.from_numpy(maps))


@pytest.mark.parametrize(
    ("array", "because"),
    [
        (drawn(COILS + 1, ROWS, COLUMNS), "4 coils and 6 x 5"),
        (drawn(ROWS, COLUMNS), "coil maps are complex"),
        (np.zeros((COILS, ROWS, COLUMNS)), "coil maps are complex"),
        (np.full((COILS, ROWS, COLUMNS), np.nan + 0j), "NaN"),
    ],
)
def test_maps_that_do_not_fit_are_refused(tmp_path, array, because):
    np.save(tmp_path / "maps.npy", array)
    with pytest.raises(DataError, match=because):
        WithMaps(Slices(1), tmp_path / "maps.npy")[0]


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_maps(tmp_path / "away.npy")
    (tmp_path / "maps.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="damaged"):
        read_maps(tmp_path / "maps.npy")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kspace"] = np.zeros(3)
    with pytest.raises(DataError, match="no data set 'maps'"):
        read_maps(tmp_path / "other.h5")
