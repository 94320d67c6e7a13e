"""The floor: real images in a model's place."""

import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.base.randomness import generator_for
from rsd_med.evaluation.floor import clean_images, halves, measure_floor, share_images
from rsd_med.evaluation.reference import CleanReference
from rsd_med.metrics.distances import FIGURES, compare
from tests.training.toys import Pixels, pictures

CPU = torch.device("cpu")


def reference(count: int, seed: int = 1) -> CleanReference:
    return CleanReference(pictures(count, side=16, seed=seed).data, Pixels(), 0, CPU)


def singly(count: int) -> list[list[int]]:
    return [[number] for number in range(count)]


def test_images_of_the_training_split_are_measured_as_samples_are():
    clean, training = reference(30), pictures(20, side=16, seed=2).data
    floor = measure_floor(clean, training, singly(30), 20)
    expected = compare(training, clean.images, Pixels(), generator_for(0, "distances"))
    assert (floor["origin"], floor["num_images"], floor["num_reference"]) == ("training", 20, 30)
    assert {name: floor[name] for name in FIGURES} == {name: expected[name] for name in FIGURES}
    assert floor["spectrum_deviation"] == pytest.approx(
        max(abs(ratio - 1) for where, ratio in zip(clean.spectrum.frequencies, floor["spectrum"], strict=True)
            if where <= 0.9)
    )  # fmt: skip
    assert "air" not in floor  # these pictures have none


@pytest.mark.parametrize(("samples", "counts"), [(500, (15, 15)), (10, (10, 20))])
def test_without_other_clean_images_the_reference_is_split(samples, counts):
    floor = measure_floor(reference(30), None, singly(30), samples)
    assert floor["origin"] == "halves"
    assert (floor["num_images"], floor["num_reference"]) == counts
    assert 0 < floor["fd"] < 1


def test_too_few_images_for_halves_have_no_floor():
    assert measure_floor(reference(11), None, singly(11), 100) is None
    assert measure_floor(reference(12), None, singly(12), 100) is not None


@pytest.mark.parametrize("at_most", [7, 50, 1000])
def test_halves_share_neither_images_nor_volumes(at_most):
    stacks = [list(range(10 * volume, 10 * volume + 10)) for volume in range(10)]
    first, second = halves(stacks, at_most, generator_for(0, "floor"))
    assert len(first) == min(at_most, 50)
    assert len(second) >= 40
    assert {image // 10 for image in first}.isdisjoint(image // 10 for image in second)
    assert len({*first, *second}) == len(first) + len(second)


def test_two_volumes_are_split_image_by_image():
    first, second = halves([list(range(20)), list(range(20, 40))], 1000, generator_for(0, "floor"))
    assert len(first) == len(second) == 20
    assert sorted(first + second) == list(range(40))
    assert len({image // 20 for image in first}) == 2


def test_the_same_images_are_no_two_draws():
    some, others = pictures(5).data, pictures(5, seed=1).data
    assert not share_images(some, others)
    assert not share_images(some, some[..., :2])
    assert share_images(some, torch.cat([others, some[3:4]]))


class Clean:
    """A data set whose clean images are their numbers; or that has none."""

    def __init__(self, undersampled: bool = False) -> None:
        self.undersampled = undersampled

    def reference(self, index: int) -> torch.Tensor:
        if self.undersampled:
            raise DataError("undersampled")
        return torch.full((1, 2, 2), float(index))


def test_clean_images_are_read_where_there_are_any():
    images = clean_images(Clean(), range(100, 200), 20, seed=0)
    assert images.shape == (20, 1, 2, 2)
    chosen = images[:, 0, 0, 0].tolist()
    assert len({*chosen}) == 20
    assert min(chosen) >= 100 > max(chosen) - 100
    assert chosen != sorted(chosen)
    assert len(clean_images(Clean(), range(8), 20, seed=0)) == 8
    assert clean_images(Clean(undersampled=True), range(8), 20, seed=0) is None
