"""One door: training and reconstruction make the same measurement of the same scan, bit for bit."""

from dataclasses import replace

import pytest
import torch

from rsd_med.calibration.map_settings import CoilMapSettings
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions import MultiCoilFourierSettings
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.data.scan import Scan
from rsd_med.inverse.scans import Undersampling, prepare
from tests.calibration.scans import complex_noise, head, mixing, noisy
from tests.teachers.test_no_peek import Scans

SIGMA = 0.03
LINES = 16


def synthetic():
    """Six coils with correlated, unequal noise; columns at both edges do not exist."""
    _, kspace = head(6, (80, 72))
    acquired = (torch.arange(72) >= 3) & (torch.arange(72) < 69)
    return Scan("synthetic", 1000 * torch.where(acquired, noisy(kspace, SIGMA, mixing(6))[0], 0), acquired)


@pytest.fixture(params=["synthetic", "real_brain_8ch"])
def scan(request):
    if request.param == "synthetic":
        return synthetic()
    folder = request.getfixturevalue("shared_data") / "fastmri_format"
    return FastMRIHDF5(folder / f"{request.param}.h5")[0]


def trained_on(scan, settings, **corruption):
    options = {"acceleration": 4, "acs_lines": LINES} | corruption
    return MeasurementDataset(Scans([scan]), MultiCoilFourierSettings(**options).build(), 3, settings)


@pytest.mark.parametrize("more", [{}, {"virtual_coils": 4}, {"noise": "none"}])
def test_training_and_reconstruction_prepare_a_scan_alike(scan, more):
    settings = CalibrationSettings(maps=CoilMapSettings(cache=False), **more)
    dataset = trained_on(scan, settings)
    trained = dataset[0]
    mask = trained.operator.mask[0, 0, 0]
    undersampled = replace(scan, kspace=torch.where(mask, scan.kspace, 0), acquired=mask)
    reconstructed = prepare(undersampled, Undersampling(), settings, acs_lines=LINES).measurement
    assert tuple(trained.data.shape[1:]) == dataset.shape(0)
    for one, other in (
        (trained.data, reconstructed.data),
        (trained.operator.maps, reconstructed.operator.maps),
        (trained.operator.mask, reconstructed.operator.mask),
        (trained.sigma, reconstructed.sigma),
        (trained.scale, reconstructed.scale),
    ):
        assert torch.equal(one, other)
    assert (trained.sigma.item() > 0) == (more.get("noise") != "none")


def test_the_noise_that_training_sees_is_white_and_of_the_stated_level():
    """Not by the code's own account: the difference of two scans that have nothing but their noise apart."""
    _, kspace = head(6, (80, 72))
    noise_scan = 1000 * SIGMA * (mixing(6) @ complex_noise(6, 4000, seed=11))
    unequal = noise_scan.abs().square().mean(1)
    assert unequal.max() > 1.2 * unequal.min()
    trained = []
    for seed in (2, 5):
        data = 1000 * noisy(kspace, SIGMA, mixing(6), seed)[0]
        scan = Scan("synthetic", data, torch.ones(72, dtype=torch.bool), noise=noise_scan)
        trained.append(trained_on(scan, CalibrationSettings(maps=CoilMapSettings(kind="walsh")), acceleration=1)[0])
    one, other = trained
    noise = (one.data * one.scale - other.data * other.scale)[0].flatten(1) / 2**0.5
    variance = (one.sigma * one.scale) ** 2
    covariance = noise @ noise.mH / noise.shape[1] / (2 * variance)
    assert torch.allclose(covariance, torch.eye(6, dtype=torch.complex64), atol=0.08)


def test_measured_and_added_noise_add_up_as_variance():
    scan = synthetic()
    settings = CalibrationSettings(maps=CoilMapSettings(cache=False))
    clean, noisier = (trained_on(scan, settings, sigma=sigma)[0] for sigma in (0.0, 0.05))
    assert torch.equal(clean.operator.mask, noisier.operator.mask)
    assert torch.equal(clean.scale, noisier.scale)
    mask = clean.operator.mask[0, 0, 0]
    added = torch.view_as_real((noisier.data - clean.data)[..., mask])
    assert added.std().item() == pytest.approx(0.05, rel=0.03)
    assert noisier.sigma.item() == pytest.approx((clean.sigma.item() ** 2 + 0.05**2) ** 0.5, rel=1e-6)
    assert not noisier.data[..., ~mask].any()


def test_columns_that_do_not_exist_stay_known():
    """Masks of generated images must leave them out; the gaps of an undersampled scan say nothing of the kind."""
    scan = synthetic()
    settings = CalibrationSettings(maps=CoilMapSettings(kind="walsh"))
    trained = trained_on(scan, settings)[0]
    assert torch.equal(trained.acquired[0], scan.acquired)
    assert torch.equal(prepare(scan, Undersampling(4, LINES), settings).measurement.acquired[0], scan.acquired)
    undersampled = replace(scan, acquired=trained.operator.mask[0, 0, 0])
    assert prepare(undersampled, Undersampling(), settings).measurement.acquired is None


def test_the_reference_lies_in_the_same_coils_as_the_measurement():
    """Of the whole scan, by the undersampled one's whitening and scale: where all is measured, they are the same."""
    scan = synthetic()
    settings = CalibrationSettings(maps=CoilMapSettings(kind="walsh"))
    whole = trained_on(scan, settings, mask="file", acceleration=1)
    assert torch.allclose(whole.reference(0), whole[0].image()[0], atol=1e-5)
