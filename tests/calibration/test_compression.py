"""Coil compression: the energy that is reported is kept, noise stays white, maps go along."""

import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.calibration.compression import compress_coils
from rsd_med.calibration.noise import noise_covariance
from rsd_med.calibration.phase import normalised
from rsd_med.calibration.quality import map_quality
from rsd_med.operators.fourier import ifft2c
from rsd_med.operators.masks import MaskDesign, random_mask

from .scans import complex_noise, draws, head

SHAPE = (48, 40)


@pytest.fixture(scope="module")
def scan():
    return head(8, SHAPE)


def test_the_energy_kept_is_that_of_the_singular_values(scan):
    _, kspace = scan
    values = np.linalg.svd(kspace.flatten(1).numpy(), compute_uv=False) ** 2
    for n in (1, 3, 8):
        found = compress_coils(kspace, n)
        assert found.kspace.shape == (n, *SHAPE)
        assert found.energy_kept == pytest.approx(values[:n].sum() / values.sum(), rel=1e-4)


@pytest.mark.parametrize("geometric", [False, True])
def test_all_coils_are_only_turned(scan, geometric):
    _, kspace = scan
    found = compress_coils(kspace, 8, geometric)
    assert found.energy_kept == pytest.approx(1, abs=1e-5)
    before, after = (ifft2c(data).abs().square().sum(0).sqrt() for data in (kspace, found.kspace))
    assert torch.allclose(before, after, atol=1e-4)


def test_data_of_few_sources_need_few_coils():
    sources = complex_noise(3, *SHAPE)
    kspace = torch.tensordot(complex_noise(10, 3, seed=1), sources, dims=1)
    assert compress_coils(kspace, 3).energy_kept == pytest.approx(1, abs=1e-5)
    assert compress_coils(kspace, 2).energy_kept < 0.99


def test_one_combination_for_each_row_keeps_more(scan):
    _, kspace = scan
    whole, rows = compress_coils(kspace, 2), compress_coils(kspace, 2, geometric=True)
    assert rows.energy_kept > whole.energy_kept + 0.02
    assert rows.matrix.shape == (SHAPE[0], 2, 8)


@pytest.mark.parametrize("geometric", [False, True])
def test_white_noise_stays_white_and_as_strong(scan, geometric):
    found = compress_coils(scan[1], 4, geometric)
    rows = found.matrix if geometric else found.matrix[None]
    assert torch.allclose(rows @ rows.mH, torch.eye(4, dtype=torch.complex64).expand(len(rows), 4, 4), atol=1e-5)
    covariance = noise_covariance(found.apply(complex_noise(8, *SHAPE)).flatten(1))
    assert torch.allclose(covariance, 2 * torch.eye(4, dtype=torch.complex128), atol=0.25)


@pytest.mark.parametrize("geometric", [False, True])
def test_maps_go_along(scan, geometric):
    """Compressed maps explain the compressed scan, without a jump from row to row."""
    maps, kspace = scan
    found = compress_coils(kspace, 4, geometric)
    virtual = normalised(found.maps(maps))
    assert map_quality(virtual, found.kspace, torch.ones(SHAPE[1], dtype=torch.bool)).residual < 0.02
    steps = (virtual[:, 12:36] - virtual[:, 11:35]).abs()[..., 10:30]
    assert float(steps.max()) < 0.25


@pytest.mark.parametrize("geometric", [False, True])
def test_what_was_not_sampled_stays_zero(scan, geometric):
    sampled = random_mask(MaskDesign(SHAPE[1], 3, 6), draws())
    found = compress_coils(torch.where(sampled, scan[1], 0), 3, geometric)
    assert not found.kspace[..., ~sampled].any()
    assert found.kspace[..., sampled].abs().sum((0, 1)).all()


def test_what_cannot_be_compressed(scan):
    for n in (0, 9):
        with pytest.raises(DataError, match=f"8 coils cannot be compressed to {n}"):
            compress_coils(scan[1], n)
    with pytest.raises(DataError, match="zero everywhere"):
        compress_coils(torch.zeros_like(scan[1]), 2)
    echo = scan[1].clone()
    echo[:, :10] = 0
    with pytest.raises(DataError, match="every row"):
        compress_coils(echo, 2, geometric=True)
