"""ISMRMRD headers that say other things than the lines, and files of several measurements."""

import logging
import re

import h5py
import ismrmrd
import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.base.notices import forget_what_was_said
from rsd_med.data.ismrmrd import ISMRMRDSettings
from rsd_med.operators.fourier import fft2c, ifft2c

from .conftest import complex_noise
from .ismrmrd_files import line, lines_of, write, xml


def build(path, **settings):
    return ISMRMRDSettings(root=str(path), **settings).build()


def kspace_of(image):
    return fft2c(torch.from_numpy(image.astype(np.complex64))).numpy()


def blob(rows, columns, coils=2):
    """An image of positive values in the middle half of the field of view."""
    image = np.zeros((coils, rows, columns))
    image[:, rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4] = 1
    return image + 0.1 * np.abs(complex_noise(coils, rows, columns)) * image


@pytest.fixture
def said(caplog):
    forget_what_was_said()
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


# --- a depth that is none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "partition"), [(2, 0), (8, 0), (8, 4), (1, 1)])
def test_lines_of_one_partition_are_slices(tmp_path, said, depth, partition):
    kspace = complex_noise(2, 16, 12)
    lines = lines_of(kspace, kspace_encode_step_2=partition)
    source = build(write(tmp_path / "scan.h5", xml(nz=depth), lines))
    assert np.array_equal(source[0].kspace.numpy(), kspace)
    assert len(said()) == (depth > 1)
    assert all(f"declares {depth} partitions" in sentence for sentence in said())


@pytest.mark.parametrize("depth", [1, 2])
def test_several_partitions_are_refused(tmp_path, depth):
    lines = [one for step in (0, 1) for one in lines_of(complex_noise(2, 16, 12), kspace_encode_step_2=step)]
    with pytest.raises(DataError, match="three dimensions"):
        build(write(tmp_path / "scan.h5", xml(nz=depth), lines))


# --- oversampling that is not declared ------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.25, 2, 4])
def test_more_samples_than_declared_are_an_oversampled_readout(tmp_path, said, factor):
    wide = round(16 * factor)
    image = complex_noise(2, wide, 12)
    scan = build(write(tmp_path / "scan.h5", xml((16, 12)), lines_of(kspace_of(image))))[0]
    edge = (wide - 16) // 2
    assert scan.kspace.shape == (2, 16, 12)
    assert np.allclose(ifft2c(scan.kspace).numpy(), image[:, edge : edge + 16], atol=1e-5)
    assert scan.geometry.spacing_mm == pytest.approx((2.0, 3.0))
    assert [f"declares 16 samples a line, and lines have {wide}" in sentence for sentence in said()] == [True]
    whole = build(tmp_path, remove_readout_oversampling=False)[0]
    assert np.allclose(ifft2c(whole.kspace).numpy(), image, atol=1e-5)
    assert whole.geometry.spacing_mm == pytest.approx((2.0, 3.0))


def test_a_field_of_view_that_is_oversampled_already_stays(tmp_path):
    """The matrix is the image's, the field of view that of the readout: the pixels are as large as declared there."""
    header = xml((16, 12)).decode()
    encoded, recon = re.findall(r"<fieldOfView_mm><x>(\d+)</x>", header)
    assert encoded == recon == "32"
    header = header.replace("<x>32</x><y>36</y>", "<x>64</x><y>36</y>", 1)
    scan = build(write(tmp_path / "scan.h5", header.encode(), lines_of(complex_noise(2, 32, 12))))[0]
    assert scan.kspace.shape == (2, 16, 12)
    assert scan.geometry.spacing_mm == pytest.approx((2.0, 3.0))


def test_an_asymmetric_echo_that_is_oversampled(tmp_path):
    """The echo's place says how long the whole readout is: 24 samples, the echo at the eighth, are 32."""
    kspace = kspace_of(blob(32, 12))
    lines = [line(kspace[:, 8:, step], step, center_sample=8) for step in range(12)]
    scan = build(write(tmp_path / "scan.h5", xml((16, 12)), lines))[0]
    assert scan.kspace.shape == (2, 16, 12)
    assert torch.nonzero(scan.readout).flatten().tolist() == list(range(4, 16))


# --- a centre that is none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("declared", "true"), [(16, 16), (16, 15), (16, 8), (8, 3)])
def test_a_centre_far_from_the_strongest_line_is_said(tmp_path, said, declared, true):
    """Partial Fourier, 24 of 32 lines; the scanner counts from the first that it acquires."""
    kspace = kspace_of(blob(32, 32))
    lines = [line(kspace[:, :, step + 16 - true], step) for step in range(min(24, 16 + true))]
    scan = build(write(tmp_path / "scan.h5", xml((32, 32), centre=declared), lines))[0]
    away = abs(declared - true)
    assert len(said()) == (away > 2)
    assert all(f"lies {away} from the centre" in sentence and "scan_000" in sentence for sentence in said())
    assert int(scan.acquired.sum()) == len(lines)


@pytest.mark.parametrize("centre", [0, 2, 11])
def test_a_centre_about_which_the_lines_do_not_fit_is_the_middle_and_said(tmp_path, said, centre):
    kspace = complex_noise(2, 16, 12)
    scan = build(write(tmp_path / "scan.h5", xml(centre=centre), lines_of(kspace)))[0]
    assert np.array_equal(scan.kspace.numpy(), kspace)
    assert [f"do not fit about the header's centre {centre}" in sentence for sentence in said()] == [True]


def test_an_echo_far_from_the_declared_sample_is_said(tmp_path, said):
    kspace = kspace_of(blob(32, 32))
    lines = [line(kspace[:, :, step], step, center_sample=22) for step in range(32)]
    build(write(tmp_path / "scan.h5", xml((32, 32)), lines))[0]
    assert len(said()) == 1
    assert "strongest sample of k-space lies 6 from the centre" in said()[0]


def test_noise_and_the_real_phantom_have_no_wrong_centre(tmp_path, said, shared_data):
    build(write(tmp_path / "scan.h5", xml(), lines_of(complex_noise(2, 16, 12))))[0]
    build(shared_data / "mri_kspace_real" / "phantom_2ch_siemens_gre_ismrmrd.h5")[0]
    assert said() == []


# --- a field of view in metres --------------------------------------------------------------------------------------


def in_metres(header, which):
    """Divide fields of view by 1000: those of the spaces that are named."""

    def divided(match):
        return re.sub(r"(?<=>)[\d.]+(?=</[xyz]>)", lambda number: str(float(number[0]) / 1000), match[0])

    for space in which:
        header = re.sub(rf"<{space}>.*?</{space}>", lambda match: re.sub(
            r"<fieldOfView_mm>.*?</fieldOfView_mm>", divided, match[0], flags=re.DOTALL), header, flags=re.DOTALL
        )  # fmt: skip
    return header.encode()


@pytest.mark.parametrize("which", [("encodedSpace", "reconSpace"), ("encodedSpace",), ("reconSpace",)])
def test_a_field_of_view_in_metres_is_read_as_such_and_said(tmp_path, said, which):
    text = in_metres(xml((32, 12), recon=16).decode(), which)
    assert b">0.064<" in text or which == ("reconSpace",)
    directions = {"read_dir": (0.0, 1.0, 0.0), "phase_dir": (1.0, 0.0, 0.0), "slice_dir": (0.0, 0.0, -1.0)}
    scan = build(write(tmp_path / "scan.h5", text, lines_of(complex_noise(2, 32, 12), **directions)))[0]
    assert scan.kspace.shape == (2, 16, 12)
    assert scan.geometry.spacing_mm == pytest.approx((2.0, 3.0, 5.0))
    assert np.allclose(np.linalg.norm(scan.geometry.affine[:3, :3], axis=0), (2, 3, 5))
    assert [" metres" in sentence for sentence in said()] == [True] * len(which)


# --- several measurements -------------------------------------------------------------------------------------------


def measurements(path, **groups):
    """Write a file of several groups, as siemens_to_ismrmrd -M does."""
    for name, (header, lines) in groups.items():
        dataset = ismrmrd.Dataset(str(path), f"/{name}", True)
        dataset.write_xml_header(header)
        for acquisition in lines:
            dataset.append_acquisition(acquisition)
        dataset.close()
    return path


NOISE = [ismrmrd.ACQ_IS_NOISE_MEASUREMENT]


def test_all_measurements_of_a_file_are_read_in_their_order(tmp_path, said):
    parts = {f"dataset_{number}": complex_noise(2, 16, 12, seed=number) for number in (10, 1, 2)}
    path = measurements(tmp_path / "scan.h5", **{name: (xml(), lines_of(part)) for name, part in parts.items()})
    source = build(path)
    assert [scan.id for scan in source] == ["scan_measurement1_000", "scan_measurement2_000", "scan_measurement3_000"]
    for index, name in enumerate(("dataset_1", "dataset_2", "dataset_10")):
        assert np.array_equal(source[index].kspace.numpy(), parts[name])
    assert source.stacks() == (range(1), range(1, 2), range(2, 3))
    assert len({source.origin(index) for index in range(3)}) == 3
    assert said() == []


@pytest.mark.parametrize("first", ["dataset", "dataset_1"])
def test_an_adjustment_does_not_stop_the_image_and_is_named(tmp_path, said, first):
    kspace, other = complex_noise(2, 16, 12), complex_noise(3, 32, 12)
    path = measurements(
        tmp_path / "scan.h5",
        **{
            first: (xml(), lines_of(kspace, flags=NOISE)),
            "dataset_2": (xml(), lines_of(kspace)),
            "dataset_3": (xml(trajectory="epi"), lines_of(kspace)),
            "dataset_4": (xml((32, 12), recon=16), lines_of(other)),
        },
    )
    source = build(path)
    assert [source.id(index) for index in range(len(source))] == ["scan_measurement2_000", "scan_measurement4_000"]
    assert np.array_equal(source[0].kspace.numpy(), kspace)
    assert source[1].kspace.shape == (3, 16, 12)
    assert [re.search("noise scan|echo-planar", sentence)[0] for sentence in said()] == ["noise scan", "echo-planar"]
    assert [re.search("Measurement (.) of 4", sentence)[1] for sentence in said()] == ["1", "3"]


def test_a_file_of_adjustments_alone_is_refused(tmp_path):
    lines = lines_of(complex_noise(2, 16, 12), flags=NOISE)
    with pytest.raises(DataError, match="is it a noise scan"):
        build(measurements(tmp_path / "scan.h5", dataset_1=(xml(), lines), dataset_2=(xml(), lines)))


def test_a_damaged_measurement_is_not_left_out(tmp_path):
    lines = lines_of(complex_noise(2, 16, 12))
    path = measurements(tmp_path / "scan.h5", dataset_1=(xml(), lines), dataset_2=(xml(), lines))
    with h5py.File(path, "a") as file:
        del file["dataset_2/data"]
        file["dataset_2/data"] = np.zeros(3)
    with pytest.raises(DataError, match="no table"):
        build(path)


def test_the_given_cases(shared_data, said):
    folder = shared_data.parent / "cases" / "raw"
    if not folder.is_dir():
        pytest.skip("the cases are not here")
    assert build(folder / "mrd_2d_with_z2.h5")[0].kspace.shape == (4, 32, 32)
    source = build(folder / "several_measurements.h5")
    assert [source.id(index)[-16:] for index in range(len(source))] == ["measurement2_000", "measurement3_000"]
    assert len(said()) == 2
