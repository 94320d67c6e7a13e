import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.metrics.pca import PCAFeatures, PCASettings
from tests.metrics.damage import ellipses, generator


def test_coordinates_are_those_of_the_singular_vectors():
    reference = ellipses(60, 4, seed=1, size=12)[0]
    features = PCASettings(dimension=5).build(reference=reference)(reference)
    pixels = reference.flatten(1).double().numpy()
    centred = pixels - pixels.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :5] * values[:5] / np.sqrt((centred**2).mean())
    np.testing.assert_allclose(features.abs().numpy(), np.abs(expected), atol=1e-6)


def test_name_belongs_to_the_reference():
    reference = ellipses(60, 4, seed=1, size=12)[0]
    first, again, other = (PCAFeatures(r, 5).name for r in (reference, reference.clone(), reference.flip(-1)))
    assert first == again != other
    assert first.startswith("pca-v1-")
    assert first.endswith("-5")


def test_what_cannot_be_fitted_or_seen_is_refused():
    reference = torch.rand(20, 1, 6, 6, generator=generator(1))
    with pytest.raises(DataError, match="more than 20 reference images"):
        PCAFeatures(reference, 20)
    with pytest.raises(DataError, match="all equal"):
        PCAFeatures(torch.zeros(20, 1, 6, 6), 3)
    with pytest.raises(DataError, match="choose random_conv"):
        PCASettings().build()
    with pytest.raises(DataError, match=r"fitted on images of shape \(1, 6, 6\)"):
        PCAFeatures(reference, 3)(torch.zeros(2, 1, 8, 8))
