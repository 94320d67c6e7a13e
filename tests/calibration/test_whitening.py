"""Whitening: what we mean by σ (CONTRIBUTING.md) holds after the transform and the combination of coils."""

import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.calibration.noise import noise_covariance, noise_sigma
from rsd_med.calibration.whitening import noise_correlation, whiten, whitening_matrix
from rsd_med.data.coils import birdcage_maps
from rsd_med.operators.fourier import ifft2c

from .scans import complex_noise, draws, mixing


@pytest.mark.parametrize("coils", [1, 2, 8])
@pytest.mark.parametrize("sigma", [1e-6, 0.3])
def test_the_noise_of_a_whitened_scan_has_sigma_in_every_part_of_the_combined_image(coils, sigma):
    """E[Re²] = E[Im²] = σ², in k-space, in the coil images and in S^H F^H n; with the scan's own covariance."""
    shape = (96, 80)
    mix = mixing(coils)
    scan = sigma * (mix @ complex_noise(coils, 20000, seed=7))
    kspace = sigma * (mix @ complex_noise(coils, shape[0] * shape[1], seed=8)).reshape(coils, *shape)
    covariance = noise_covariance(scan)
    white = whiten(kspace, covariance)
    expected = noise_sigma(covariance)
    maps = birdcage_maps(coils, shape, draws())
    images = ifft2c(white)
    for data in (white, images, (maps.conj() * images).sum(0)):
        assert float(data.real.std()) == pytest.approx(expected, rel=0.03)
        assert float(data.imag.std()) == pytest.approx(expected, rel=0.03)
    if coils > 1:
        assert noise_correlation(noise_covariance(kspace.flatten(1))) > 0.2
        assert noise_correlation(noise_covariance(white.flatten(1))) < 0.05


def test_the_matrix_does_what_it_says():
    mix = mixing(5).to(torch.complex128)
    covariance = 3.7 * mix @ mix.mH
    matrix = whitening_matrix(covariance)
    level = 2 * noise_sigma(covariance) ** 2
    assert torch.allclose(matrix @ covariance @ matrix.mH, level * torch.eye(5, dtype=torch.complex128), atol=1e-9)
    assert torch.allclose(matrix, matrix.mH)


@pytest.mark.parametrize("coils", [1, 4])
def test_coils_with_equal_noise_are_left_alone(coils):
    kspace = complex_noise(coils, 6, 5)
    assert torch.allclose(whiten(kspace, 0.2 * torch.eye(coils)), kspace, atol=1e-6)


def test_what_was_not_sampled_stays_zero():
    kspace = complex_noise(4, 6, 5)
    kspace[..., 2] = 0
    assert not whiten(kspace, mixing(4) @ mixing(4).mH)[..., 2].any()


@pytest.mark.parametrize("rank", [0, 3])
def test_coils_without_noise_of_their_own_are_refused(rank):
    samples = complex_noise(4, 100)
    samples[rank:] = 0
    with pytest.raises(DataError, match="singular"):
        whitening_matrix(noise_covariance(samples))


def test_real_noise_is_white_afterwards(shared_data):
    """Learnt on one half of the samples, tested on the other."""
    samples = torch.from_numpy(np.load(shared_data / "mri_kspace_real" / "noise_16ch.npy"))
    learnt, tested = samples[:, ::2], samples[:, 1::2]
    before = torch.linalg.cond(noise_covariance(tested))
    after = torch.linalg.cond(noise_covariance(whiten(tested, noise_covariance(learnt))))
    assert after < 0.6 * before
    whole = noise_covariance(whiten(samples, noise_covariance(samples)))
    assert torch.allclose(whole / whole[0, 0].real, torch.eye(16, dtype=torch.complex128), atol=1e-4)
