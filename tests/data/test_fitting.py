import numpy as np
import pytest
import torch

from rsd_med.data.fitting import Fitted, fit
from rsd_med.data.scan import UNKNOWN, Geometry


def ramp(height: int, width: int) -> torch.Tensor:
    """Two channels that hold each pixel's own y and x."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y, x]).float()


def test_nothing_asked_nothing_done():
    image = ramp(5, 7)
    assert torch.equal(fit(image).image, image)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (27, 29), (4, 40), (32, 32)])
def test_padding_puts_the_centre_in_the_centre(height, width):
    image = torch.ones(1, height, width)
    image[0, height // 2, width // 2] = 5
    padded = fit(image, pad=32, background=-1.0).image
    assert padded.shape == (1, 32, 32)
    assert padded[0, 16, 16] == 5
    assert (padded == -1).sum() == 32 * 32 - min(height, 32) * min(width, 32)


def test_cropping_keeps_the_centre():
    assert torch.equal(fit(ramp(8, 9), crop=4).image, ramp(8, 9)[:, 2:6, 2:6])


@pytest.mark.parametrize(
    "asked",
    [
        {"crop": 21},
        {"pad": 47},
        {"resize": 12},
        {"resize": 60},
        {"resize": 15, "keep_all": True},
        {"crop": 20, "resize": 10, "pad": 16},
        {"resize": 20, "keep_all": True, "pad": 11},
    ],
)
def test_the_record_says_where_pixels_came_from(asked):
    fitted = fit(ramp(30, 24), **asked)
    height, width = fitted.image.shape[-2:]
    for axis, length in ((0, height), (1, width)):
        came_from = fitted.factor[axis] * torch.arange(length) + fitted.offset[axis]
        line = fitted.image[0, :, width // 2] if axis == 0 else fitted.image[1, height // 2]
        middle = slice(length // 2 - 3, length // 2 + 3)  # away from edges, where the filter sees padding
        assert torch.allclose(line[middle], came_from[middle], atol=0.05)


def test_complex_images_are_resampled_part_by_part():
    image = torch.complex(ramp(16, 16)[:1], ramp(16, 16)[1:])
    small = fit(image, resize=8).image
    assert small.dtype == torch.complex64
    assert torch.allclose(small.real, fit(image.real, resize=8).image)
    assert torch.allclose(small.imag, fit(image.imag, resize=8).image)


def test_shrinking_averages_rather_than_picks():
    stripes = (ramp(64, 64)[1:] % 2) * 2 - 1
    assert fit(stripes, resize=16).image.abs().max() < 0.1


def test_geometry_follows_the_pixels():
    affine = np.array([[0, 2, 0, -5], [1, 0, 0, 7], [0, 0, 3, 1], [0, 0, 0, 1]], dtype=float)
    geometry = Fitted(torch.zeros(1, 4, 4), factor=(2.0, 4.0), offset=(0.5, -3.0)).geometry(
        Geometry(affine, (1.0, 2.0, 3.0))
    )
    assert np.allclose(geometry.affine @ [1, 1, 0, 1], affine @ [2.5, 1.0, 0, 1])
    assert geometry.spacing_mm == (2.0, 8.0, 3.0)
    assert fit(torch.zeros(1, 4, 4), resize=2).geometry(UNKNOWN) == UNKNOWN
