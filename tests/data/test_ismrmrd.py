"""The ISMRMRD reader on good files: the real phantom, and files with one property each by the format's own package."""

import pickle

import ismrmrd
import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5Settings
from rsd_med.data.ismrmrd import ISMRMRDSettings
from rsd_med.operators.fourier import fft2c, ifft2c

from .conftest import complex_noise
from .ismrmrd_files import line, lines_of, write, xml


def build(path, **settings):
    return ISMRMRDSettings(root=str(path), **settings).build()


def test_the_real_phantom_is_the_same_in_both_formats(shared_data):
    scan = build(shared_data / "mri_kspace_real" / "phantom_2ch_siemens_gre_ismrmrd.h5")[0]
    other = FastMRIHDF5Settings(root=str(shared_data / "fastmri_format" / "real_phantom_2ch.h5")).build()[0]
    assert scan.kspace.shape == (2, 160, 160)
    assert torch.equal(scan.kspace, other.kspace)
    assert scan.acquired.all()
    assert scan.geometry.affine is None  # its directions are zero: never guessed
    assert scan.geometry.spacing_mm == (1.0, 1.0)
    assert scan.noise is scan.calibration is scan.readout is None


def test_k_space_comes_back_unchanged(tmp_path):
    kspace = complex_noise(3, 16, 12)
    source = build(write(tmp_path / "scan.h5", xml(), reversed(lines_of(kspace))))
    scan = source[0]
    assert len(source) == 1
    assert source.shape(0) == (3, 16, 12)
    assert source.id(0) == scan.id == "scan_000"
    assert np.array_equal(scan.kspace.numpy(), kspace)
    assert scan.kspace.dtype == torch.complex64
    assert scan.acquired.all()
    assert scan.acs_lines is None
    assert scan.geometry.spacing_mm == (2.0, 3.0)
    assert torch.equal(pickle.loads(pickle.dumps(source))[0].kspace, scan.kspace)


def test_slices_contrasts_and_repetitions_are_items_and_volumes(tmp_path):
    parts = {(number, echo): complex_noise(2, 16, 12, seed=number + 2 * echo) for number in (0, 1) for echo in (0, 1)}
    lines = [one for (number, echo), part in parts.items() for one in lines_of(part, slice=number, contrast=echo)]
    source = build(write(tmp_path / "scan.h5", xml(), lines))
    assert [scan.id for scan in source] == [
        "scan_000_contrast0",
        "scan_001_contrast0",
        "scan_000_contrast1",
        "scan_001_contrast1",
    ]
    assert source.stacks() == (range(2), range(2, 4))
    for index, key in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        assert np.array_equal(source[index].kspace.numpy(), parts[key])
    assert build(tmp_path, slices=1).stacks() == (range(1), range(1, 2))
    assert build(tmp_path, limit=3).stacks() == (range(2), range(2, 3))


def test_averages_are_averaged_where_there_are_any(tmp_path):
    first, second = complex_noise(2, 16, 12, seed=1), complex_noise(2, 16, 12, seed=2)
    lines = lines_of(first, average=0) + lines_of(second, steps=range(6), average=1)
    scan = build(write(tmp_path / "scan.h5", xml(), lines))[0]
    assert np.allclose(scan.kspace[..., :6].numpy(), (first + second)[..., :6] / 2, atol=1e-6)
    assert np.array_equal(scan.kspace[..., 6:].numpy(), first[..., 6:])


def test_lines_never_acquired_are_told_apart_from_measured_zeros(tmp_path):
    kspace = complex_noise(2, 16, 12)
    kspace[0, :, 4] = 0  # zero in one coil is a measurement
    steps = [1, 4, 5, 6, 7, 10]
    scan = build(write(tmp_path / "scan.h5", xml(), lines_of(kspace, steps)))[0]
    assert torch.nonzero(scan.acquired).flatten().tolist() == steps
    assert scan.acs_lines == 4
    assert not scan.kspace[..., ~scan.acquired].any()


def test_partial_fourier_is_placed_by_the_centre_of_the_header(tmp_path):
    kspace = complex_noise(2, 16, 12)
    # The scanner counts its lines from the first that it acquires: 8 of 12, with the centre at its second.
    lines = [line(kspace[:, :, 5 + step], step) for step in range(7)]
    scan = build(write(tmp_path / "scan.h5", xml(centre=1), lines))[0]
    assert torch.nonzero(scan.acquired).flatten().tolist() == list(range(5, 12))
    assert np.array_equal(scan.kspace[..., 5:].numpy(), kspace[..., 5:])


def test_an_asymmetric_echo_leaves_rows_that_were_never_sampled(tmp_path):
    kspace = complex_noise(2, 16, 12)
    lines = [line(kspace[:, 4:, step], step, center_sample=4) for step in range(12)]
    scan = build(write(tmp_path / "scan.h5", xml(), lines))[0]
    assert np.array_equal(scan.kspace[:, 4:].numpy(), kspace[:, 4:])
    assert torch.nonzero(scan.readout).flatten().tolist() == list(range(4, 16))
    cropped = build(write(tmp_path / "half.h5", xml(recon=8), lines))[0]
    assert torch.nonzero(cropped.readout).flatten().tolist() == list(range(2, 8))
    assert not cropped.kspace[:, :2].any()


def test_discarded_samples_and_reversed_lines(tmp_path):
    kspace = complex_noise(2, 16, 12)
    wide = np.pad(kspace, ((0, 0), (3, 2), (0, 0)), constant_values=99)
    lines = [
        line(wide[:, :, step], step, discard_pre=3, discard_post=2, center_sample=3 + 8)
        if step % 2
        else line(kspace[:, ::-1, step], step, [ismrmrd.ACQ_IS_REVERSE], center_sample=16 - 1 - 8)
        for step in range(12)
    ]
    scan = build(write(tmp_path / "scan.h5", xml((21, 12)), lines))[0]
    # The matrix is 21 long here, as the lines are: the 16 kept samples lie about its centre.
    assert np.array_equal(scan.kspace[:, 2:18].numpy(), kspace)


def test_readout_oversampling_is_removed_in_the_image(tmp_path):
    image = complex_noise(2, 32, 12)
    scan = build(
        write(tmp_path / "scan.h5", xml((32, 12), recon=16), lines_of(fft2c(torch.from_numpy(image)).numpy()))
    )[0]
    assert scan.kspace.shape == (2, 16, 12)
    assert np.allclose(ifft2c(scan.kspace).numpy(), image[:, 8:24], atol=1e-5)
    assert scan.geometry.spacing_mm == (2.0, 3.0)
    whole = build(tmp_path, remove_readout_oversampling=False)
    assert whole.shape(0) == whole[0].kspace.shape == (2, 32, 12)


def test_navigators_and_corrections_are_no_lines(tmp_path):
    kspace = complex_noise(2, 16, 12)
    flags = [
        ismrmrd.ACQ_IS_NAVIGATION_DATA,
        ismrmrd.ACQ_IS_PHASECORR_DATA,
        ismrmrd.ACQ_IS_HPFEEDBACK_DATA,
        ismrmrd.ACQ_IS_DUMMYSCAN_DATA,
        ismrmrd.ACQ_IS_RTFEEDBACK_DATA,
        ismrmrd.ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA,
    ]
    others = [line(np.full((2, 16), 9), 3, [flag]) for flag in flags]
    last = line(kspace[:, :, 11], 11, [ismrmrd.ACQ_LAST_IN_MEASUREMENT])  # a mark, not another sort of line
    scan = build(write(tmp_path / "scan.h5", xml(), others + lines_of(kspace, range(11)) + [last]))[0]
    assert np.array_equal(scan.kspace.numpy(), kspace)


# --- noise and calibration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dwell", "bandwidth", "averages", "factor"),
    [(10, "", 1, 1.0), (40, "", 1, 0.5), (10, "0.8", 1, 0.8**-0.5), (10, "", 4, 0.5)],
)
def test_noise_samples_are_scaled_to_the_noise_of_the_scan(tmp_path, dwell, bandwidth, averages, factor):
    noise = complex_noise(2, 256, seed=5)
    scan_lines = [
        one
        for average in range(averages)
        for one in lines_of(complex_noise(2, 16, 12), average=average, sample_time_us=float(dwell))
    ]
    measured = [
        line(part, 0, [ismrmrd.ACQ_IS_NOISE_MEASUREMENT], sample_time_us=10.0) for part in np.split(noise, 2, 1)
    ]
    system = f"<relativeReceiverNoiseBandwidth>{bandwidth}</relativeReceiverNoiseBandwidth>" if bandwidth else ""
    scan = build(write(tmp_path / "scan.h5", xml(system=system), measured + scan_lines))[0]
    assert np.allclose(scan.noise.numpy(), noise * factor, rtol=1e-5)
    assert scan.noise.dtype == torch.complex64


def test_removing_oversampling_keeps_the_noise_of_an_entry(tmp_path):
    """What Scan.noise promises: the same standard deviation before and after the crop."""
    scan = build(write(tmp_path / "scan.h5", xml((64, 48), recon=32), lines_of(complex_noise(4, 64, 48))))[0]
    assert float(torch.view_as_real(scan.kspace).std()) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("mode", ["embedded", ""])
def test_embedded_calibration_lines_belong_to_the_scan(tmp_path, mode):
    kspace = complex_noise(2, 16, 12)
    lines = lines_of(kspace, range(0, 12, 2)) + lines_of(kspace, [5, 7], flags=[ismrmrd.ACQ_IS_PARALLEL_CALIBRATION])
    scan = build(write(tmp_path / "scan.h5", xml(mode=mode), lines))[0]
    assert torch.nonzero(scan.acquired).flatten().tolist() == [0, 2, 4, 5, 6, 7, 8, 10]
    assert scan.calibration is None
    assert scan.acs_lines == 5


@pytest.mark.parametrize("mode", ["separate", ""])
def test_separate_calibration_lines_stay_apart(tmp_path, mode):
    kspace, other = complex_noise(2, 16, 12), complex_noise(2, 16, 12, seed=1)
    flags = [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION]
    lines = lines_of(kspace, range(0, 12, 2)) + lines_of(other, range(4, 9), flags=flags)
    scan = build(write(tmp_path / "scan.h5", xml(mode=mode), lines))[0]
    assert torch.nonzero(scan.acquired).flatten().tolist() == list(range(0, 12, 2))
    assert np.array_equal(scan.kspace[..., ::2].numpy(), kspace[..., ::2])
    assert np.array_equal(scan.calibration[..., 4:9].numpy(), other[..., 4:9])
    assert not scan.calibration[..., :4].any()


def test_calibration_lines_that_lie_outside_or_hold_nothing_are_none(tmp_path):
    lines = lines_of(complex_noise(2, 16, 12), range(0, 12, 2))
    flags = [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION]
    outside = [line(np.ones((2, 16)), 40, flags)]
    empty = [line(np.zeros((2, 16)), 5, flags)]
    for extra in (outside, empty):
        path = tmp_path / "scan.h5"
        path.unlink(missing_ok=True)
        assert build(write(path, xml(mode="separate", recon=8), lines + extra))[0].calibration is None


# --- geometry -------------------------------------------------------------------------------------------------------


def test_slices_lie_where_their_headers_say_and_in_the_order_of_space(tmp_path):
    directions = {"read_dir": (0.0, 1.0, 0.0), "phase_dir": (1.0, 0.0, 0.0), "slice_dir": (0.0, 0.0, -1.0)}
    lines = [
        one
        for number, height in enumerate((10.0, 0.0, 20.0))  # slices are numbered in the order of acquisition
        for one in lines_of(
            complex_noise(1, 32, 12, seed=number), slice=number, position=(5.0, 6.0, height), **directions
        )
    ]
    source = build(write(tmp_path / "scan.h5", xml((32, 12), recon=16), lines))
    assert [source.id(index) for index in range(3)] == ["scan_002", "scan_000", "scan_001"]
    affine = source[0].geometry.affine
    assert np.allclose(affine @ [8, 6, 0, 1], [-5, -6, 20, 1])  # the centre, RAS
    assert np.allclose(affine @ [9, 6, 0, 1], [-5, -8, 20, 1])  # along the readout: to the back
    assert np.allclose(affine @ [8, 7, 0, 1], [-8, -6, 20, 1])  # along the phase encoding: to the left
    assert np.allclose(affine @ [8, 6, 1, 1], [-5, -6, 10, 1])  # the next slice
    assert source[0].geometry.spacing_mm == (2.0, 3.0, 10.0)


# --- what is not read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "lines", "because"),
    [
        ({"trajectory": "radial"}, {}, "trajectory is 'radial'"),
        ({"trajectory": "epi"}, {}, "phase correction"),
        ({"trajectory": "rosette of DOE"}, {}, "trajectory is 'other'"),
        ({}, {"encoding_space_ref": 1}, "several encoding spaces"),
        ({"shape": (16, 8)}, {}, "lines 0 to 11 do not fit the header's 8"),
        ({"shape": (3, 12)}, {}, "lines of 16 samples"),
        ({"shape": (60000, 12)}, {}, "cannot be read"),
        ({}, {"flags": [ismrmrd.ACQ_IS_NOISE_MEASUREMENT]}, "no line of an image"),
    ],
)
def test_what_is_not_read_is_refused_with_the_reason(tmp_path, header, lines, because):
    path = write(tmp_path / "scan.h5", xml(**header), lines_of(complex_noise(2, 16, 12), **lines))
    with pytest.raises(DataError, match=because) as caught:
        build(path)
    assert "DOE" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_channels_that_change_are_refused(tmp_path):
    lines = lines_of(complex_noise(2, 16, 12)) + lines_of(complex_noise(3, 16, 12), [0])
    with pytest.raises(DataError, match="number of channels"):
        build(write(tmp_path / "scan.h5", xml(), lines))


def test_nothing_that_names_the_patient_is_kept(tmp_path):
    source = build(write(tmp_path / "scan.h5", xml(), lines_of(complex_noise(2, 16, 12))))
    assert b"DOE" not in pickle.dumps(source) + pickle.dumps(source[0])
    assert b"4711" not in pickle.dumps(source)
