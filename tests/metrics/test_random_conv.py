import subprocess
import sys
from typing import Annotated

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from rsd_med.base.errors import DataError
from rsd_med.metrics.features import FeatureSettings
from rsd_med.metrics.fixed_random import fixed_normal, fixed_orthonormal
from rsd_med.metrics.kinds import FEATURES
from rsd_med.metrics.random_conv import RandomConvFeatures, RandomConvSettings
from tests.metrics.damage import generator

WAVES = """
import numpy as np, torch
from rsd_med.metrics.random_conv import RandomConvFeatures
y, x, c = np.meshgrid(np.arange(30), np.arange(34), np.arange(3), indexing="ij")
image = np.sin(0.3 * x + 0.1 * y * y / 30 + c).transpose(2, 0, 1)[None]
features = RandomConvFeatures()(torch.from_numpy(image).float())
print(*[f"{v:.4f}" for v in features[0, ::12].tolist()])
"""
# What version 1 gives; if these change, VERSION must.
GOLDEN = "-1.2671 -0.7595 -1.8156 -1.1273 1.7925 -0.1707 1.0183 -1.2053"


def test_version_1_is_what_it_was_in_any_process():
    printed = subprocess.run([sys.executable, "-c", WAVES], capture_output=True, text=True, check=True).stdout
    np.testing.assert_allclose([float(v) for v in printed.split()], [float(v) for v in GOLDEN.split()], atol=2e-4)


def test_name_and_dimension():
    extractor = RandomConvFeatures(64)
    features = extractor(torch.zeros(2, 1, 8, 8))
    assert extractor.name == "random-conv-v1-64"
    assert features.shape == (2, extractor.dimension) == (2, 64)
    assert features.dtype == torch.float64


def test_global_random_state_is_not_touched():
    before = torch.random.get_rng_state()
    RandomConvFeatures()(torch.zeros(1, 1, 8, 8))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_grey_image_is_three_equal_channels():
    grey = torch.rand(3, 1, 20, 20, generator=generator(1)) * 2 - 1
    extractor = RandomConvFeatures()
    torch.testing.assert_close(extractor(grey), extractor(grey.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_colour_matters():
    image = torch.rand(1, 3, 20, 20, generator=generator(2)) * 2 - 1
    extractor = RandomConvFeatures()
    assert (extractor(image) - extractor(image.flip(1))).norm() > 0.1
    # The same brightness everywhere, another hue.
    plain = torch.tensor([0.3, -0.1, -0.2]).view(1, 3, 1, 1).expand(-1, -1, 16, 16)
    assert (extractor(plain) - extractor(plain.roll(1, 1))).norm() > 0.1


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (28, 28), (33, 48), (160, 128)])
def test_any_size(size):
    features = RandomConvFeatures()(torch.rand(2, 1, *size, generator=generator(3)))
    assert torch.isfinite(features).all()


def test_batches_do_not_matter():
    images = torch.rand(9, 1, 24, 24, generator=generator(4))
    extractor = RandomConvFeatures()
    torch.testing.assert_close(extractor(images), torch.cat([extractor(i) for i in images.split(2)]), atol=1e-5, rtol=0)


def test_what_is_no_view_is_refused():
    extractor = RandomConvFeatures()
    with pytest.raises(DataError, match="magnitude_view"):
        extractor(torch.zeros(2, 2, 8, 8))
    with pytest.raises(DataError, match="magnitude_view"):
        extractor(torch.zeros(2, 1, 8, 8, dtype=torch.complex64))
    with pytest.raises(DataError, match="NaN"):
        extractor(torch.full((1, 1, 8, 8), float("nan")))
    with pytest.raises(ValueError, match="multiple of 8"):
        RandomConvFeatures(20)


def test_settings_choose_by_kind():
    adapter = TypeAdapter(Annotated[FeatureSettings, FEATURES])
    settings = adapter.validate_python({"kind": "random_conv", "dimension": 64})
    assert isinstance(settings, RandomConvSettings)
    assert settings.build().name == "random-conv-v1-64"
    for wrong in ({"kind": "vgg"}, {"kind": "random_conv", "dimension": 20}, {"kind": "random_conv", "seed": 1}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_fixed_numbers_are_normal_and_their_rotations_orthonormal():
    numbers = fixed_normal("test", 200, 500)
    assert numbers.shape == (200, 500)
    assert abs(numbers.mean()) < 0.01
    assert numbers.std() == pytest.approx(1, abs=0.01)
    assert (numbers**4).mean() == pytest.approx(3, abs=0.1)
    assert not np.array_equal(numbers[0], fixed_normal("other", 500))
    rotation = fixed_orthonormal("test", 7, 12)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(7), atol=1e-12)
    with pytest.raises(ValueError, match="do not fit"):
        fixed_orthonormal("test", 3, 2)
