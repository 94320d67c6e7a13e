import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.metrics import distances
from rsd_med.metrics.distances import compare, compare_features, extract
from rsd_med.metrics.features import RandomConvFeatures
from rsd_med.metrics.frechet import frechet_distance
from rsd_med.metrics.kernel import kernel_distance
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
    worse = compare(noisy(samples, 0.3), reference, extractor, generator(0))
    assert worse["fd"] > found["fd"]
    assert worse["kid"] > found["kid"]


def test_large_sets_use_subsets_from_the_generator(monkeypatch):
    monkeypatch.setattr(distances, "ALL_PAIRS_LIMIT", 20)
    monkeypatch.setattr(distances, "SUBSET_SIZE", 10)
    a, b = torch.randn(2, 30, 8, generator=generator(1), dtype=torch.float64).unbind(0)
    first, again, other = (compare_features(a, b, "toy", generator(seed))["kid"] for seed in (1, 1, 2))
    assert first == again != other


def test_what_cannot_be_compared_is_refused():
    extractor = RandomConvFeatures(16)
    images = torch.zeros(4, 1, 16, 16)
    with pytest.raises(DataError, match="crop or resample both alike"):
        compare(images, images[..., 1:], extractor, generator(0))
    with pytest.raises(DataError, match="no images"):
        extract(images[:0], extractor)
    with pytest.raises(DataError, match="NaN"):
        compare(images / 0, images, extractor, generator(0))
