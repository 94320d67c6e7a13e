"""Blur, lower resolution, missing pixels and tomography: what they owe, and what others compute."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from rsd_med.base.draws import Draws
from rsd_med.operators import SamplingMask
from rsd_med.operators.blur import Blur, gaussian_kernel, motion_kernel
from rsd_med.operators.pixel_masks import block_masks, further_pixel_masks, random_pixel_masks
from rsd_med.operators.super_resolution import Downsampling, NearestUpsampling
from rsd_med.operators.tomography import BackProjection, ParallelBeam, RampFilter, filtered_back_projection
from tests.operators.contracts import check_operator, random_tensor, relative_error

DTYPES = [torch.float64, torch.complex128]


def generator(seed=0):
    return Draws().manual_seed(seed)


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_blur_owes_what_an_operator_owes(size, dtype):
    blur = Blur(random_tensor((2, 1, 5, 5), torch.float64, 3))
    check_operator(blur, (2, 3, *size), (2, 3, *size), dtype)


@pytest.mark.parametrize("size", [(12, 8), (9, 15)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_resolution_owes_what_an_operator_owes(size, dtype):
    factor = math.gcd(*size)
    small = (size[0] // factor, size[1] // factor)
    check_operator(Downsampling(factor, size), (2, 3, *size), (2, 3, *small), dtype)
    check_operator(NearestUpsampling(factor), (2, 3, *small), (2, 3, *size), dtype)
    check_operator(NearestUpsampling(factor) @ Downsampling(factor, size), (2, 1, *size), (2, 1, *size), dtype)


@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tomography_owes_what_an_operator_owes(size, dtype):
    beam = ParallelBeam(size, 5)
    check_operator(beam, (2, 2, size, size), (2, 2, 5, size), dtype)
    check_operator(BackProjection(size, 5), (2, 1, 5, size), (2, 1, size, size), dtype)
    check_operator(RampFilter(), (2, 2, 5, size), (2, 2, 5, size), dtype)
    check_operator(filtered_back_projection(beam) @ beam, (2, 1, size, size), (2, 1, size, size), dtype)


def test_the_published_kernel_is_scipys():
    ndimage = pytest.importorskip("scipy.ndimage")
    delta = np.zeros((9, 9))
    delta[4, 4] = 1
    assert np.allclose(gaussian_kernel(9, 2.0)[0].numpy(), ndimage.gaussian_filter(delta, sigma=2), atol=1e-8)


def test_blur_is_scipys_convolution_with_mirrored_borders():
    ndimage = pytest.importorskip("scipy.ndimage")
    x, kernel = random_tensor((2, 1, 11, 14), torch.float64, 1), random_tensor((2, 1, 5, 5), torch.float64, 2)
    expected = np.stack([ndimage.convolve(x[i, 0].numpy(), kernel[i, 0].numpy(), mode="mirror") for i in range(2)])
    assert relative_error(Blur(kernel)(x)[:, 0], torch.from_numpy(expected)) < 1e-14


def test_motion_goes_its_length_in_its_direction():
    kernel = motion_kernel(9, torch.tensor([6.0, 6.0, 0.0], dtype=torch.float64), torch.tensor([0.0, math.pi / 2, 1.0]))
    assert torch.allclose(kernel.sum(dim=(-2, -1)), torch.ones(3, 1, dtype=torch.float64))
    assert (kernel[0, 0, 4] > 1e-9).sum() == 7
    assert kernel[0, 0, :4].sum() < 1e-9  # along x alone
    assert torch.allclose(kernel[1, 0], kernel[0, 0].T, atol=1e-6)  # y for x
    assert kernel[2, 0].argmax() == 40
    diagonal = motion_kernel(9, torch.tensor([6.0]), torch.tensor([math.pi / 4]))[0, 0]
    assert diagonal[6, 6] > 0
    assert diagonal[2, 6] == 0  # from x towards y, not away from it


@pytest.mark.parametrize("factor", [2, 4])
def test_downsampling_is_the_libraries_anti_aliased_cubic(factor):
    x = random_tensor((2, 3, 16, 24), torch.float64, 1)
    expected = functional.interpolate(x, scale_factor=1 / factor, mode="bicubic", antialias=True)
    assert relative_error(Downsampling(factor, (16, 24))(x), expected) < 1e-12


def test_constants_stay_constant():
    ones = torch.ones(1, 1, 12, 12, dtype=torch.float64)
    for operator in (Downsampling(4, (12, 12)), NearestUpsampling(2), Blur(gaussian_kernel(9, 2.0).double())):
        assert torch.allclose(operator(ones), torch.ones((), dtype=torch.float64), atol=1e-7)


@pytest.mark.parametrize("size", [16, 17])
def test_tomography_is_scikit_images(size):
    transform = pytest.importorskip("skimage.transform")
    axis = np.arange(size) - size // 2
    inside = (axis[:, None] ** 2 + axis[None, :] ** 2) <= (size // 2 - 1) ** 2
    image = random_tensor((size, size), torch.float64, 1).numpy() * inside
    expected = transform.radon(image, theta=np.arange(6) * 30.0, circle=True).T / size
    assert relative_error(ParallelBeam(size, 6)(torch.from_numpy(image)), torch.from_numpy(expected)) < 1e-10


def test_many_views_give_the_image_back():
    axis = torch.arange(48, dtype=torch.float64) - 24
    image = torch.exp(-((axis[:, None] - 3) ** 2 + (axis[None, :] + 5) ** 2) / 30)[None, None]
    beam = ParallelBeam(48, 120)
    assert relative_error(filtered_back_projection(beam)(beam(image)), image) < 0.03


def test_pixels_are_missing_as_often_as_asked_and_in_all_channels():
    masks = random_pixel_masks(4, (50, 60), 0.8, generator())
    assert masks.shape == (4, 1, 50, 60)
    assert masks.float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert not masks[0].equal(masks[1])
    further = further_pixel_masks(masks, 0.1, generator(1))
    assert not (further & ~masks).any()
    assert further.float().mean().item() == pytest.approx(0.18, abs=0.02)
    seen = SamplingMask(masks)(torch.ones(4, 3, 50, 60))
    assert seen[:, 0].equal(seen[:, 2])


def test_one_block_of_the_size_is_missing():
    masks = block_masks(20, (20, 40), 0.25, generator())
    assert ((~masks).sum(dim=(-2, -1)) == 10 * 20).all()
    rows, columns = (~masks).any(dim=-1), (~masks).any(dim=-2)
    assert (rows.sum(-1) == 10).all()
    assert (columns.sum(-1) == 20).all()
    assert len({int(mask.int().argmin()) for mask in masks}) > 10


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="odd side"):
        Blur(torch.ones(1, 4, 4))
    with pytest.raises(ValueError, match="real of shape"):
        Blur(torch.ones(5, 5))
    with pytest.raises(ValueError, match="too short"):
        Blur(torch.ones(1, 9, 9))(torch.ones(1, 1, 4, 20))
    with pytest.raises(ValueError, match="do not fit blurring kernels"):
        Blur(torch.ones(2, 1, 3, 3))(torch.ones(3, 1, 8, 8))
    with pytest.raises(ValueError, match="multiples"):
        Downsampling(4, (12, 10))
    with pytest.raises(ValueError, match="needs"):
        ParallelBeam(8, 4)(torch.ones(1, 1, 8, 9))
