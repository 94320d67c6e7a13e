"""From raw scan to usable numbers: every step reported, each one optional, nothing read that was not measured."""

import json
from dataclasses import replace

import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.calibration.calibrate import calibrate
from rsd_med.calibration.map_settings import CoilMapSettings
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.scan import Scan
from rsd_med.operators.fourier import ifft2c
from rsd_med.operators.masks import MaskDesign, acs_slice, poisson_disk_masks, random_mask

from .scans import complex_noise, draws, head, mixing, noisy

SHAPE = (80, 72)
SIGMA = 0.03
MAPS = CoilMapSettings(cache=False)


def settings(**more):
    return CalibrationSettings(**{"maps": MAPS} | more)


@pytest.fixture(scope="module")
def scan():
    """Six coils with correlated noise, in units of 1000, with a noise scan; everything acquired."""
    _, kspace = head(6, SHAPE)
    kspace, _ = noisy(kspace, SIGMA, mixing(6))
    noise = SIGMA * (mixing(6) @ complex_noise(6, 4000, seed=11))
    return Scan(id="x", kspace=1000 * kspace, acquired=torch.ones(SHAPE[1], dtype=torch.bool), noise=1000 * noise)


def mask(acceleration=3, lines=16):
    return random_mask(MaskDesign(SHAPE[1], acceleration, lines), draws())


def test_every_step_is_reported(scan):
    found = calibrate(scan, settings(virtual_coils=4), mask())
    assert found.kspace.shape == found.maps.shape == (4, *SHAPE)
    assert found.kspace.dtype == torch.complex64
    assert found.mask.shape == (1, 1, SHAPE[1])
    assert torch.equal(found.mask[0, 0], mask())
    assert not found.kspace[..., ~mask()].any()
    report = json.loads(json.dumps(found.report))
    assert report["sampling"] == {
        "shape": [80, 72],
        "pattern": "columns",
        "sampled": 24,
        "acceleration": 3.0,
        "acs": report["sampling"]["acs"],
    }
    assert report["sampling"]["acs"] >= 16
    assert report["noise"]["source"] == "scan"
    assert report["noise"]["samples"] == 4000
    assert report["noise"]["correlation"] > 0.2
    assert len(report["noise"]["coils"]) == 6
    assert report["whitening"] == {"applied": True}
    assert report["compression"]["coils"] == 4
    assert 0.8 < report["compression"]["energy_kept"] < 1
    assert report["maps"]["kind"] == "espirit"
    assert report["maps"]["explains"]
    assert report["scale"]["value"] == found.scale
    assert report["scale"]["sigma"] == found.sigma


@pytest.mark.parametrize("noise", ["scan", "edges", "background"])
@pytest.mark.parametrize("more", [{}, {"virtual_coils": 4}, {"virtual_coils": 4, "compression": "geometric"}])
def test_sigma_is_that_of_the_combined_image_per_real_component(scan, noise, more):
    """What we mean by σ, on the image itself: the same steps on two scans that differ by their noise alone."""
    other = replace(scan, kspace=1000 * noisy(scan.kspace / 1000, SIGMA, mixing(6), seed=5)[0])
    one = calibrate(scan, settings(noise=noise, **more))
    combined = [(one.maps.conj() * ifft2c(data)).sum(0) for data in (one.kspace, _again(other, scan, one, noise, more))]
    inside = one.maps.abs().sum(0) > 0
    difference = torch.view_as_real((combined[1] - combined[0])[inside])
    assert float(difference.std()) == pytest.approx(one.sigma, rel=0.05)


def _again(other, scan, found, noise, more):
    """Give another scan exactly the steps that ``scan`` went through: they are linear in k-space."""
    from rsd_med.calibration.compression import compress_coils
    from rsd_med.calibration.noise import estimate_noise, noise_covariance
    from rsd_med.calibration.whitening import whiten

    covariance = (
        noise_covariance(scan.noise)
        if noise == "scan"
        else estimate_noise(scan.kspace, scan.acquired, noise).covariance
    )
    data = whiten(other.kspace, covariance)
    if more:
        compression = compress_coils(whiten(scan.kspace, covariance), 4, more.get("compression") == "geometric")
        data = compression.apply(data)
    return data / found.scale


def test_steps_can_be_left_out(scan):
    found = calibrate(scan, settings(noise="none", check_maps=False))
    assert found.sigma == 0
    assert found.report["noise"] == {"source": None}
    assert found.report["whitening"] == {"applied": False}
    assert found.report["compression"] == {"applied": False, "coils": 6}
    assert torch.allclose(found.kspace * found.scale, scan.kspace, rtol=1e-4)
    unwhitened = calibrate(scan, settings(whiten=False))
    assert unwhitened.report["whitening"] == {"applied": False}
    assert torch.equal(unwhitened.kspace, found.kspace)
    assert unwhitened.sigma > 0


def test_a_measurement_can_be_made_of_it(scan):
    found = calibrate(scan, settings(), mask())
    measurement = found.measurement("slice")
    assert measurement.ids == ("slice",)
    assert measurement.data.shape == (1, 6, *SHAPE)
    assert measurement.sigma.item() == pytest.approx(found.sigma)
    image = measurement.image()
    assert 0.5 < image.abs().max() < 2
    assert torch.equal(measurement.operator.mask[0], found.mask)


@pytest.mark.parametrize("noise", ["scan", "edges", "background"])
def test_nothing_is_read_that_was_not_measured(scan, noise):
    """Whatever stands where nothing was acquired, or outside the mask, all numbers stay the same to the last bit."""
    acquired = scan.acquired.clone()
    acquired[:6] = acquired[-6:] = False
    undersampled = random_mask(MaskDesign(SHAPE[1], 2, 16, acquired), draws())
    partial = replace(scan, acquired=acquired)
    other = replace(partial, kspace=torch.where(undersampled, scan.kspace, 1e5 * complex_noise(6, *SHAPE)))
    how = settings(noise=noise, virtual_coils=5)
    one, two = (calibrate(item, how, undersampled) for item in (partial, other))
    assert one.report == two.report
    assert one.scale == two.scale
    assert torch.equal(one.kspace, two.kspace)
    assert torch.equal(one.maps, two.maps)


def test_maps_of_the_file_are_whitened_and_compressed_too():
    maps, kspace = head(6, SHAPE)
    kspace, _ = noisy(kspace, SIGMA, 2 * mixing(6))
    stored = Scan(id="x", kspace=kspace, acquired=torch.ones(SHAPE[1], dtype=torch.bool), maps=maps)
    for more in ({}, {"virtual_coils": 4}, {"virtual_coils": 4, "compression": "geometric"}):
        found = calibrate(stored, settings(**more))
        assert found.report["maps"]["kind"] == "file"
        assert found.report["maps"]["noise_ratio"] < 1.15
        assert found.report["maps"]["normalisation"] < 1e-4
    with pytest.raises(DataError, match="do not explain the data"):
        calibrate(replace(stored, maps=maps.flip(-1)), settings())
    unchecked = calibrate(replace(stored, maps=maps.flip(-1)), settings(check_maps=False))
    assert not unchecked.report["maps"]["explains"]


def test_separate_calibration_lines_serve_a_scan_without_a_centre():
    _, kspace = head(4, SHAPE)
    every_third = torch.zeros(SHAPE[1], dtype=torch.bool)
    every_third[1::3] = True
    lines = torch.zeros(SHAPE[1], dtype=torch.bool)
    lines[acs_slice(SHAPE[1], 20)] = True
    without = Scan(id="x", kspace=torch.where(every_third, kspace, 0), acquired=every_third)
    with pytest.raises(DataError):
        calibrate(without, settings(noise="none"))
    found = calibrate(replace(without, calibration=torch.where(lines, 2 * kspace, 0)), settings(noise="none"))
    assert found.report["maps"]["kind"] == "espirit"
    assert torch.equal(found.mask[0, 0], every_third)
    assert not found.kspace[..., ~every_third].any()


def test_rows_that_an_asymmetric_echo_misses_are_not_sampled(scan):
    readout = torch.ones(SHAPE[0], dtype=torch.bool)
    readout[:12] = False
    echo = replace(scan, kspace=scan.kspace * readout[:, None], readout=readout)
    found = calibrate(echo, settings())
    assert found.mask.shape == (1, *SHAPE)
    assert not found.mask[0, :12].any()
    assert found.report["sampling"]["acceleration"] == pytest.approx(80 / 68)
    edges = calibrate(echo, settings(noise="edges"))
    assert edges.report["noise"]["sigma"] == pytest.approx(found.report["noise"]["sigma"], rel=0.08)


def test_masks_of_the_plane(scan):
    plane = poisson_disk_masks(MaskDesign(SHAPE[1], 3, 16, rows=SHAPE[0]), 1, draws())[0]
    found = calibrate(scan, settings(), plane[None, None])
    assert torch.equal(found.mask[0], plane)
    assert found.report["sampling"]["pattern"] == "entries"
    assert found.report["sampling"]["acceleration"] == pytest.approx(3, rel=0.01)
    assert found.report["maps"]["explains"]
    assert found.scale == pytest.approx(calibrate(scan, settings(), mask()).scale, rel=0.15)


def test_the_scale_comes_from_as_many_lines_as_are_asked_for(scan):
    few, many = (calibrate(scan, settings(), acs_lines=lines).report["scale"] for lines in (8, 16))
    assert (few["acs_lines"], many["acs_lines"]) == (8, 16)
    assert few["value"] != many["value"]
    assert calibrate(scan, settings()).report["scale"]["acs_lines"] == 24


@pytest.mark.parametrize(
    ("change", "how", "because"),
    [
        ({"noise": None}, {"noise": "scan"}, "no noise scan"),
        ({"noise": torch.ones(3, 100, dtype=torch.complex64)}, {}, "3 coils and k-space 6"),
    ],
)
def test_steps_that_cannot_be_taken(scan, change, how, because):
    with pytest.raises(DataError, match=because):
        calibrate(replace(scan, **change), settings(**how))


@pytest.mark.parametrize("wrong", [torch.ones(70, dtype=torch.bool), torch.ones(SHAPE[1])])
def test_masks_that_do_not_fit(scan, wrong):
    with pytest.raises(DataError, match="does not fit k-space of 80 × 72"):
        calibrate(scan, settings(), wrong)
    with pytest.raises(DataError, match="Nothing of the scan is left"):
        calibrate(scan, settings(), torch.zeros(SHAPE[1], dtype=torch.bool))


def test_a_scan_without_noise_is_taken_as_it_is():
    """Synthetic and silent: there is nothing to whiten, and it is said so."""
    _, kspace = head(3, SHAPE)
    dead = kspace.clone()
    dead[2] = 0
    found = calibrate(Scan(id="x", kspace=dead, acquired=torch.ones(SHAPE[1], dtype=torch.bool)), settings())
    assert not found.report["whitening"]["applied"]
    assert "singular" in found.report["whitening"]["reason"]
    with pytest.raises(DataError, match="singular"):
        calibrate(Scan(id="x", kspace=dead, acquired=found.mask[0, 0]), settings(noise="edges"))


@pytest.mark.parametrize(("name", "coils"), [("real_brain_8ch", 8), ("real_phantom_2ch", 2)])
@pytest.mark.parametrize("acceleration", [1, 4])
def test_real_scans(shared_data, name, coils, acceleration):
    """What the maps leave over of the fully sampled scan is its noise: σ and maps confirm each other."""
    scan = FastMRIHDF5(shared_data / "fastmri_format" / f"{name}.h5")[0]
    columns = scan.kspace.shape[-1]
    undersampled = None if acceleration == 1 else random_mask(MaskDesign(columns, acceleration, 20), draws())
    found = calibrate(scan, settings(), undersampled)
    assert found.maps.shape[0] == coils
    assert found.report["maps"]["kind"] == "espirit"
    assert found.report["maps"]["explains"]
    assert 0.01 < found.sigma < 0.06
    if acceleration == 1:
        assert found.report["maps"]["noise_ratio"] == pytest.approx(1, abs=0.1)
    else:
        full = calibrate(scan, settings())
        assert found.report["noise"]["sigma"] == pytest.approx(full.report["noise"]["sigma"], rel=0.05)
        assert found.scale == pytest.approx(full.scale, rel=0.15)
