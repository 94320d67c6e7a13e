"""The search through the training set finds what measuring every pair finds."""

import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.corruptions import Measurement
from rsd_med.metrics import nearest_measurements as module
from rsd_med.metrics.nearest_measurements import nearest_measurements
from rsd_med.operators import to_complex
from rsd_med.operators.sampling import SamplingMask
from tests.metrics.damage import generator
from tests.training.toys import Kept, pictures, scans


def masked(count, side=6, seed=0):
    plain = pictures(count, side, seed=seed)
    masks = torch.rand(count, 1, side, side, generator=generator(seed + 1)) < 0.5
    operator = SamplingMask(masks)
    return Measurement(operator(plain.data), operator, plain.sigma, plain.scale, plain.ids)


def by_hand(images, measurements):
    """Relative distances of every image to every measurement, one pair at a time."""
    found = torch.empty(len(images), len(measurements), dtype=torch.float64)
    for row, image in enumerate(images):
        for column in range(len(measurements)):
            item = measurements[column : column + 1]
            x = to_complex(image[None]) if item.data.is_complex() else image[None]
            found[row, column] = (item.operator(x) - item.data).norm() / item.data.norm()
    return found


@pytest.mark.parametrize(
    ("measurements", "channels", "side"), [(pictures(30), 1, 4), (masked(30), 1, 6), (scans(30), 2, 12)]
)
def test_it_finds_what_measuring_every_pair_finds(measurements, channels, side, monkeypatch):
    images = 0.7 * torch.randn(5, channels, side, side, generator=generator(4))
    expected = by_hand(images, measurements)
    found = nearest_measurements(images, Kept(measurements), range(30), 6)
    assert torch.allclose(found.distances, expected.sort(1).values[:, :6], atol=1e-6)
    assert torch.equal(found.indices, expected.argsort(1)[:, :6])
    monkeypatch.setattr(module, "ITEMS_AT_ONCE", 7)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 4)
    parts = nearest_measurements(images, Kept(measurements), range(30), 6)
    assert torch.equal(parts.indices, found.indices)
    assert torch.allclose(parts.distances, found.distances, rtol=1e-6)


@pytest.mark.parametrize("measurements", [pictures(120, 6), masked(120, 6)])
def test_a_short_list_is_enough_for_one_operator_and_for_pixel_masks(measurements, monkeypatch):
    monkeypatch.setattr(module, "SHORTLIST", 5)
    images = 0.7 * torch.randn(12, 1, 6, 6, generator=generator(5))
    found = nearest_measurements(images, Kept(measurements), range(120), 5)
    assert torch.equal(found.indices, by_hand(images, measurements).argsort(1)[:, :5])


def test_a_short_list_is_nearly_enough_for_scans():
    """White images are the worst case: the lines that masks do not share hold as much as those that they share."""
    measurements = scans(120)
    images = 0.7 * torch.randn(6, 2, 12, 12, generator=generator(5))
    found = nearest_measurements(images, Kept(measurements), range(120)).distances[:, 0]
    ratio = found / by_hand(images, measurements).amin(1)
    assert float(ratio.max()) < 1.05


def test_a_copy_is_found_under_any_operator():
    truth = torch.randn(200, 2, 12, 12, generator=generator(6))
    conditions = scans(200)
    operator = conditions.operator
    measured = Measurement(
        operator(to_complex(truth)), operator, conditions.sigma, conditions.scale, conditions.ids
    )  # fmt: skip
    found = nearest_measurements(truth[::9], Kept(measured), range(200), 2)
    assert found.indices[:, 0].tolist() == list(range(0, 200, 9))
    assert float(found.distances[:, 0].max()) < 1e-5
    assert float(found.distances[:, 1].min()) > 0.5


def test_only_the_numbers_given_are_searched_and_none_that_are_excluded():
    measurements = pictures(30)
    images = measurements.data[4:9]
    numbers = list(range(0, 30, 2))
    found = nearest_measurements(images, Kept(measurements), numbers, 3)
    assert set(found.indices.flatten().tolist()) <= set(numbers)
    assert found.indices[::2, 0].tolist() == [4, 6, 8]
    without = nearest_measurements(images, Kept(measurements), range(30), 3, exclude=torch.tensor([4, 5, -1, 7, 8]))
    assert without.indices[2, 0] == 6
    assert all(number not in row for number, row in zip([4, 5, 7, 8], without.indices[[0, 1, 3, 4]], strict=True))


def test_it_tells_how_far_it_is(monkeypatch):
    monkeypatch.setattr(module, "ITEMS_AT_ONCE", 10)
    told = []
    nearest_measurements(pictures(2).data, Kept(pictures(40)), range(40), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) > 4


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="3 nearest of 2 training measurements"):
        nearest_measurements(pictures(2).data, Kept(pictures(2)), range(2), 3)
    with pytest.raises(DataError, match="compare with those of one shape"):
        nearest_measurements(pictures(2, 6).data, Kept(pictures(5)), range(5))
    with pytest.raises(DataError, match="do not fit"):
        nearest_measurements(torch.zeros(2, 2, 10, 12), Kept(scans(5)), range(5))
