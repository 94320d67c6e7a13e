"""Noise: the stated σ comes out, whatever is padded, undersampled, correlated or an outlier."""

from itertools import product

import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.calibration.noise import estimate_noise, noise_covariance, noise_sigma
from rsd_med.calibration.robust import robust_covariance
from rsd_med.operators.masks import MaskDesign, random_mask

from .scans import complex_noise, draws, head, mixing, noisy


@pytest.mark.parametrize("coils", [1, 4, 16])
@pytest.mark.parametrize("count", [64, 900, 10000])
def test_the_covariance_is_a_mean_over_samples(coils, count):
    """Not a sum: the level must not depend on how many samples there are, nor √2 be lost between its parts."""
    covariance = noise_covariance(0.3 * complex_noise(coils, count))
    assert noise_sigma(covariance) == pytest.approx(0.3, rel=3 / (coils * count) ** 0.5)
    assert torch.allclose(covariance, covariance.mH)


def padded(kspace, sampled, columns, rows):
    """Leave out columns at both ends and rows at one: never acquired, and zero in the file."""
    sampled = sampled.clone()
    sampled[:columns] = sampled[-columns:] = False
    kspace = torch.where(sampled, kspace, 0)
    kspace[:, :rows] = 0
    return kspace, sampled


@pytest.mark.parametrize(
    ("coils", "shape", "sigma"),
    [
        *product((1,), [(160, 128)], (0.004, 0.05, 0.4)),
        *product((4, 8), [(64, 64)], (0.004, 0.05, 0.4)),
        *product((4,), [(128, 97)], (0.004, 0.05)),
        *product((8,), [(96, 128)], (0.004, 0.4)),
        *product((15,), [(128, 96)], (0.004, 0.05)),
    ],
)
@pytest.mark.parametrize("acceleration", [1, 3])
def test_sigma_is_found_within_five_percent_though_edges_are_padded(coils, shape, sigma, acceleration):
    kspace, covariance = noisy(head(coils, shape)[1], sigma, mixing(coils))
    everything = torch.ones(shape[1], dtype=torch.bool)
    kspace, sampled = padded(kspace, everything, columns=shape[1] // 10, rows=shape[0] // 12)
    if acceleration > 1:
        sampled = random_mask(MaskDesign(shape[1], acceleration, 8, sampled), draws(5))
        kspace = torch.where(sampled, kspace, 0)
    # A few hundred samples of a single coil know their own spread to 3 %.
    few = coils == 1 and acceleration > 1
    assert estimate_noise(kspace, sampled).sigma == pytest.approx(noise_sigma(covariance), rel=0.08 if few else 0.05)


@pytest.mark.parametrize("source", ["edges", "background"])
def test_the_whole_covariance_is_found(source):
    kspace, covariance = noisy(head(6, (160, 160))[1], 0.02, mixing(6))
    found = estimate_noise(kspace, torch.ones(160, dtype=torch.bool), source)
    assert found.source == source
    assert found.samples > 500
    assert abs(found.excess) < 0.1
    assert (found.covariance - covariance).norm() / covariance.norm() < 0.1
    off_diagonal = covariance - torch.diag(covariance.diagonal())
    assert off_diagonal.norm() / covariance.norm() > 0.3  # there was a correlation to find


def test_padding_that_nobody_declared_is_left_out_too():
    kspace, covariance = noisy(head(4, (96, 96))[1], 0.05)
    everything = torch.ones(96, dtype=torch.bool)
    kspace, _ = padded(kspace, everything, columns=12, rows=10)
    assert estimate_noise(kspace, everything).sigma == pytest.approx(noise_sigma(covariance), rel=0.05)


def test_what_was_not_sampled_is_not_looked_at():
    kspace, _ = noisy(head(4, (96, 96))[1], 0.05)
    sampled = random_mask(MaskDesign(96, 3, 10), draws())
    masked = torch.where(sampled, kspace, 0)
    assert estimate_noise(masked, sampled).sigma == estimate_noise(torch.where(sampled, kspace, 77 + 5j), sampled).sigma


def test_the_filter_at_the_ends_of_an_oversampled_readout_is_no_quiet_background():
    """Where oversampling was not removed, the receiver's filter leaves little noise at the ends."""
    kspace, covariance = noisy(head(4, (192, 96))[1], 0.05)
    place = torch.linspace(-1, 1, 192).abs()
    gain = torch.where(place > 0.6, torch.cos((place - 0.6) * 3.4), 1.0)[:, None]
    hybrid = torch.fft.fftshift(torch.fft.ifft(torch.fft.ifftshift(kspace, dim=1), dim=1), dim=1) * gain
    filtered = torch.fft.fftshift(torch.fft.fft(torch.fft.ifftshift(hybrid, dim=1), dim=1), dim=1)
    everything = torch.ones(96, dtype=torch.bool)
    true = noise_sigma(covariance) * float(gain.square().mean().sqrt())
    assert estimate_noise(filtered, everything, "background").sigma < 0.7 * true
    found = estimate_noise(filtered, everything)
    assert found.source == "edges"
    assert found.sigma == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("coils", [1, 4, 12])
def test_outliers_do_not_move_the_robust_covariance(coils):
    samples = complex_noise(coils, 4000)
    clean = robust_covariance(samples)
    assert noise_sigma(clean) == pytest.approx(1, rel=0.02)
    samples[:, ::5] *= 10
    assert noise_sigma(noise_covariance(samples)) > 4
    assert noise_sigma(robust_covariance(samples)) == pytest.approx(1, rel=0.06)


def test_the_robust_covariance_scales_with_the_units_and_survives_zeros():
    samples = complex_noise(3, 500)
    tiny = robust_covariance(samples * 1e-12)
    assert torch.allclose(tiny / 1e-24, robust_covariance(samples), rtol=1e-4)
    assert not robust_covariance(torch.zeros(3, 100, dtype=torch.complex64)).any()


def test_too_little_to_tell():
    kspace = complex_noise(8, 6, 6)
    nothing = torch.zeros(6, dtype=torch.bool)
    assert estimate_noise(kspace, ~nothing) is None
    assert estimate_noise(kspace, nothing) is None
    with pytest.raises(DataError, match="5 noise samples"):
        noise_covariance(complex_noise(8, 5))
    with pytest.raises(DataError, match="NaN"):
        noise_covariance(complex_noise(2, 9) * torch.nan)


def test_a_real_noise_scan(shared_data):
    samples = torch.from_numpy(np.load(shared_data / "mri_kspace_real" / "noise_16ch.npy"))
    covariance = noise_covariance(samples)
    assert noise_sigma(covariance) == pytest.approx(float(torch.view_as_real(samples).std()), rel=0.02)
    values = torch.linalg.eigvalsh(covariance)
    assert 5 < values[-1] / values[0] < 50
