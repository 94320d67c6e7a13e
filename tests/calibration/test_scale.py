"""The scale of a scan and the centre it comes from."""

import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.calibration.scale import acs_scale, central_run
from rsd_med.operators.fourier import fft2c, ifft2c
from rsd_med.operators.masks import acs_slice


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [12, 13])
@pytest.mark.parametrize("lines", [0, 1, 4, 5, 12])
def test_central_run_finds_the_acs(size, lines):
    acquired = torch.zeros(size, dtype=torch.bool)
    acquired[acs_slice(size, lines)] = True
    assert central_run(acquired) == lines


def test_central_run_ignores_the_outside():
    acquired = torch.tensor([True, False, False, True, True, True, False, True])
    assert central_run(acquired) == 3
    assert central_run(~acquired) == 0
    assert central_run(torch.ones(8, dtype=torch.bool)) == 8


def test_scale_is_the_99th_percentile_of_the_low_resolution_image():
    kspace = noise(3, 20, 18)
    low = torch.zeros_like(kspace)
    low[:, :, 7:12] = kspace[:, :, 7:12]
    magnitude = ifft2c(low).abs().square().sum(0).sqrt()
    assert acs_scale(kspace, 5) == pytest.approx(np.percentile(magnitude.numpy(), 99), rel=1e-6)


def test_a_smooth_image_divided_by_its_scale_has_unit_range():
    y, x = torch.meshgrid(torch.linspace(-2, 2, 64), torch.linspace(-2, 2, 48), indexing="ij")
    image = 37 * torch.exp(-(y**2) - x**2).to(torch.complex64)[None]
    assert acs_scale(fft2c(image), 16) == pytest.approx(37, rel=0.05)


def test_scale_follows_the_units_and_looks_at_the_centre_only():
    kspace = noise(3, 20, 18)
    outside = torch.ones(20, 18, dtype=torch.bool)
    outside[:, acs_slice(18, 6)] = False
    assert acs_scale(1000 * kspace, 6) == pytest.approx(1000 * acs_scale(kspace, 6), rel=1e-5)
    assert acs_scale(torch.where(outside, noise(3, 20, 18, seed=1), kspace), 6) == acs_scale(kspace, 6)


def test_without_acs_lines_everything_sampled_counts():
    kspace = noise(2, 16, 12)
    magnitude = ifft2c(kspace).abs().square().sum(0).sqrt()
    assert acs_scale(kspace, 0) == pytest.approx(np.percentile(magnitude.numpy(), 99), rel=1e-6)


@pytest.mark.parametrize("value", [0, torch.nan, torch.inf])
def test_no_scale(value):
    with pytest.raises(DataError, match="no scale"):
        acs_scale(torch.full((2, 8, 8), value, dtype=torch.complex64), 4)


@pytest.mark.parametrize("factor", [1e30, 1e-35, 1e18])
@pytest.mark.filterwarnings("error")
def test_values_that_cannot_be_squared_are_refused_by_their_size(factor):
    kspace = torch.zeros(2, 16, 16, dtype=torch.complex64)
    kspace[:, 4:12, 4:12] = factor
    with pytest.raises(DataError, match="multiply the data by a constant"):
        acs_scale(kspace, 4)


@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
def test_the_scale_follows_the_units(factor):
    kspace = torch.zeros(2, 16, 16, dtype=torch.complex64)
    kspace[:, 4:12, 4:12] = 1
    assert acs_scale(kspace * factor, 4) == pytest.approx(factor * acs_scale(kspace, 4))
