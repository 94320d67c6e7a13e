import math

import numpy as np
import pytest
import torch

from rsd_med.operators import CentredFourier, fft2c, ifft2c
from tests.operators.contracts import check_operator, random_tensor, relative_error

SIZES = [(8, 8), (7, 9), (8, 5), (1, 6), (3, 1)]


def roll_all(x, amounts):
    for dim, amount in amounts.items():
        x = torch.roll(x, amount, dims=dim)
    return x


def fastmri_transform(x, transform):
    """fastMRI's definition written out with rolls: ifftshift, orthonormal transform, fftshift."""
    y_size, x_size = x.shape[-2:]
    x = roll_all(x, {-2: (y_size + 1) // 2, -1: (x_size + 1) // 2})
    x = transform(x, dim=(-2, -1), norm="ortho")
    return roll_all(x, {-2: y_size // 2, -1: x_size // 2})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_equals_fastmri_bit_for_bit(size, dtype):
    x = random_tensor((2, 3, *size), dtype, 1)
    assert fft2c(x).equal(fastmri_transform(x, torch.fft.fftn))
    assert ifft2c(x).equal(fastmri_transform(x, torch.fft.ifftn))


@pytest.mark.parametrize("size", SIZES)
def test_agrees_with_sigpy(size):
    sigpy_fourier = pytest.importorskip("sigpy.fourier")
    x = random_tensor((2, *size), torch.complex64, 1)
    for ours, theirs in ((fft2c, sigpy_fourier.fft), (ifft2c, sigpy_fourier.ifft)):
        expected = torch.from_numpy(np.ascontiguousarray(theirs(x.numpy(), axes=(-2, -1), center=True, norm="ortho")))
        assert relative_error(ours(x), expected.to(torch.complex64)) < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_inverse_undoes_the_transform_and_keeps_the_norm(size):
    x = random_tensor((2, 1, *size), torch.complex128, 1)
    assert relative_error(ifft2c(fft2c(x)), x) < 1e-14
    assert math.isclose(fft2c(x).norm(), x.norm(), rel_tol=1e-14)


@pytest.mark.parametrize("size", [(48, 48), (45, 48), (47, 49)])
def test_a_gaussian_becomes_the_analytic_gaussian(size):
    width = 6.0
    grids = [torch.arange(n, dtype=torch.float64) - n // 2 for n in size]
    image, expected = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for axis, (grid, n) in enumerate(zip(grids, size, strict=True)):
        shape = (-1, 1) if axis == 0 else (1, -1)
        image = image * torch.exp(-math.pi * (grid / width) ** 2).reshape(shape)
        expected = expected * (width / n**0.5 * torch.exp(-math.pi * (width * grid / n) ** 2)).reshape(shape)
    assert relative_error(fft2c(image.to(torch.complex128)), expected.to(torch.complex128)) < 1e-12


@pytest.mark.parametrize("size", SIZES)
def test_zero_frequency_lies_in_the_centre(size):
    k = fft2c(torch.ones(size, dtype=torch.complex128))
    expected = torch.zeros(size, dtype=torch.complex128)
    expected[size[0] // 2, size[1] // 2] = math.prod(size) ** 0.5
    assert torch.allclose(k, expected, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_the_operator_owes_what_an_operator_owes(size, dtype):
    check_operator(CentredFourier(), (2, 3, *size), (2, 3, *size), dtype)
