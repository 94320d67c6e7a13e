import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.metrics import distances
from rsd_med.metrics.density_coverage import density_coverage
from rsd_med.metrics.distances import compare, compare_features, extract
from rsd_med.metrics.frechet import frechet_distance
from rsd_med.metrics.kernel import kernel_distance
from rsd_med.metrics.precision_recall import precision_recall
from rsd_med.metrics.random_conv import RandomConvFeatures
from tests.metrics.damage import ellipses, generator, noisy


def test_compare_reports_what_it_measured():
    extractor = RandomConvFeatures(16)
    samples, reference = ellipses(60, 4, seed=1)[0], ellipses(50, 4, seed=2)[0]
    found = compare(samples, reference, extractor, generator(0), batch_size=7)
    a, b = extractor(samples), extractor(reference)
    assert found["features"] == extractor.name == "random-conv-v1-16"
    assert (found["num_samples"], found["num_reference"]) == (60, 50)
    assert found["fd"] == pytest.approx(frechet_distance(a, b), rel=1e-4)
    assert found["kid"] == pytest.approx(kernel_distance(a, b), rel=1e-3)
    assert (found["precision"], found["recall"]) == precision_recall(a, b)
    assert (found["density"], found["coverage"]) == density_coverage(a, b)
    worse = compare(noisy(samples, 0.3), reference, extractor, generator(0))
    assert worse["fd"] > found["fd"]
    assert worse["kid"] > found["kid"]
    assert worse["precision"] < found["precision"]
    assert worse["coverage"] < found["coverage"]


def test_large_sets_use_subsets_from_the_generator(monkeypatch):
    monkeypatch.setattr(distances, "ALL_PAIRS_LIMIT", 20)
    monkeypatch.setattr(distances, "SUBSET_SIZE", 10)
    a, b = torch.randn(2, 30, 8, generator=generator(1), dtype=torch.float64).unbind(0)
    first, again, other = (compare_features(a, b, "toy", generator(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first["fd"] == other["fd"]
    for name in ("kid", "density"):
        assert first[name] != other[name]


def test_what_cannot_be_compared_is_refused():
    extractor = RandomConvFeatures(16)
    images = torch.zeros(4, 1, 16, 16)
    with pytest.raises(DataError, match="crop or resample both alike"):
        compare(images, images[..., 1:], extractor, generator(0))
    with pytest.raises(DataError, match="no images"):
        extract(images[:0], extractor)
    with pytest.raises(DataError, match="NaN"):
        compare(images / 0, images, extractor, generator(0))


def test_the_fewest_images_that_can_be_compared():
    a, b = torch.randn(2, distances.MINIMUM_IMAGES, 3, generator=generator(3), dtype=torch.float64).unbind(0)
    assert compare_features(a, b, "toy", generator(0))["coverage"] >= 0
    with pytest.raises(DataError, match="at least 6 images"):
        compare_features(a, b[1:], "toy", generator(0))
