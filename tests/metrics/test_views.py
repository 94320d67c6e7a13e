import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.metrics.views import magnitude_view
from tests.metrics.damage import generator


def test_complex_and_channels_agree():
    image = torch.randn(3, 1, 5, 4, generator=generator(1), dtype=torch.complex64)
    channels = torch.cat([image.real, image.imag], 1)
    view = magnitude_view(image)
    assert view.dtype == torch.float32
    torch.testing.assert_close(view, 2 * image.abs() - 1)
    torch.testing.assert_close(magnitude_view(channels), view)
    assert view.max() > 1  # not clipped


@pytest.mark.parametrize("channels", [1, 3])
def test_natural_images_pass(channels):
    image = torch.rand(2, channels, 4, 4, generator=generator(2))
    assert torch.equal(magnitude_view(image), image)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(2, 4, 8, 8),
        torch.zeros(1, 8, 8),
        torch.zeros(2, 2, 8, 8, dtype=torch.complex64),
    ],
)
def test_other_shapes_are_refused(image):
    with pytest.raises(DataError, match="a metric cannot look at"):
        magnitude_view(image)
