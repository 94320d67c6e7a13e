"""ESPIRiT: the same maps as sigpy's, the coils' phases kept, at any size."""

import numpy as np
import pytest
import torch

from rsd_med.calibration.eigen import dominant_eigenvectors
from rsd_med.calibration.espirit import espirit_eigenmaps, espirit_maps
from rsd_med.calibration.scale import dc_window

from .scans import complex_noise, head, noisy


def centre(kspace, width):
    rows, columns = kspace.shape[-2:]
    return kspace[..., dc_window(rows, width), dc_window(columns, width)].contiguous()


def sigpys(calibration, shape, kernel_width=6, threshold=0.02):
    import sigpy
    from sigpy.mri.app import EspiritCalib

    with np.errstate(divide="ignore", invalid="ignore"):
        maps, values = EspiritCalib(
            sigpy.resize(calibration.numpy(), (calibration.shape[0], *shape)),
            calib_width=calibration.shape[-1],
            thresh=threshold,
            kernel_width=kernel_width,
            crop=0,
            max_iter=100,
            output_eigenvalue=True,
            show_pbar=False,
        ).run()
    return torch.from_numpy(np.nan_to_num(maps)), torch.from_numpy(values).reshape(shape)


@pytest.mark.parametrize(
    ("coils", "shape", "width", "kernel"), [(4, (48, 48), 24, 6), (3, (45, 38), 16, 5), (6, (40, 51), 15, 4)]
)
def test_agrees_with_sigpy_where_the_eigenvalue_is_trusted(coils, shape, width, kernel):
    kspace, _ = noisy(head(coils, shape)[1], 0.01)
    calibration = centre(kspace, width)
    eigen = espirit_eigenmaps(calibration, shape, kernel_width=kernel, iterations=128)
    maps, values = eigen.vectors[0], eigen.values[0]
    known, known_values = sigpys(calibration, shape, kernel_width=kernel)
    trusted = values > 0.95
    assert 0.3 < trusted.float().mean() < 1
    assert (values - known_values).abs()[trusted].max() < 1e-4
    # Unit vectors with the relative phases of all coils: one complex number of modulus 1 apart.
    assert (maps.conj() * known).sum(0).abs()[trusted].min() > 1 - 1e-4


def test_the_phases_between_coils_are_kept():
    """A map of magnitudes alone, |S|, would be as normalised, and wrong."""
    maps, kspace = head(4, (48, 48))
    found = espirit_maps(centre(kspace, 24), (48, 48))[0]
    inside = found.abs().sum(0) > 0
    between, known = (data[1:] * data[:1].conj() for data in (found, maps))
    weight = known.abs() * inside
    assert ((between - known).abs() * weight).sum() / (known.abs() * weight).sum() < 0.05
    assert known.angle()[:, inside].abs().mean() > 0.5


def test_eigenvalues_are_one_at_most_and_one_where_there_is_signal():
    kspace = head(4, (48, 48))[1]
    values = espirit_eigenmaps(centre(kspace, 24), (48, 48)).values[0]
    assert values.max() < 1 + 1e-4
    assert values[24, 24] > 0.99
    assert values[1, 1] < 0.9


def test_bands_of_rows_make_no_difference(monkeypatch):
    calibration = centre(head(3, (32, 30))[1], 16)
    whole = espirit_maps(calibration, (32, 30))
    monkeypatch.setattr("rsd_med.calibration.espirit._BAND_ELEMENTS", 30 * 9 * 5)
    assert torch.allclose(espirit_maps(calibration, (32, 30)), whole, atol=1e-5)


def test_agrees_with_the_maps_of_the_real_brain(shared_data):
    import h5py

    with h5py.File(shared_data / "mri_kspace_real" / "brain_8ch_full.h5") as file:
        kspace = torch.from_numpy(file["kspace"][()])
        known = torch.from_numpy(file["sens_maps_espirit"][()])
    maps = espirit_maps(centre(kspace, 24), tuple(kspace.shape[1:]))[0]
    both = (maps.abs().sum(0) > 0) & (known.abs().sum(0) > 0)
    assert both.float().mean() > 0.65
    assert (known.conj() * maps).sum(0).abs()[both].mean() > 0.999


@pytest.mark.parametrize("size", [1, 2, 8])
def test_dominant_eigenvectors(size):
    factor = complex_noise(50, size, size + 3)
    matrices = factor @ factor.mH
    known, vectors = torch.linalg.eigh(matrices)
    found, values = dominant_eigenvectors(matrices, iterations=1 << 12)
    assert torch.allclose(values, known[:, -1], rtol=1e-3)
    apart = known[:, -1] > 1.02 * known[:, -2] if size > 1 else torch.ones(50, dtype=torch.bool)
    likeness = (found.conj() * vectors[..., -1]).sum(-1).abs()
    assert (likeness[apart] > 0.999).all()
    assert torch.allclose(found.norm(dim=-1), torch.ones(50), atol=1e-5)


def test_a_matrix_of_zeros_has_no_direction():
    vectors, values = dominant_eigenvectors(torch.zeros(2, 3, 3, dtype=torch.complex64))
    assert not vectors.any()
    assert not values.any()
