"""The fastMRI reader on good files: real ones, and small ones with one property each."""

import dataclasses
import os
import pickle

import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.data import fastmri_hdf5, hdf5, open_files
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5, FastMRIHDF5Settings
from rsd_med.operators.fourier import ifft2c

from .conftest import complex_noise, header


def build(path, **settings):
    return FastMRIHDF5Settings(root=str(path), **settings).build()


# --- real files -----------------------------------------------------------------------------------------------------


def test_real_files_of_every_size_and_number_of_coils_come_from_one_folder(shared_data):
    source = build(shared_data / "fastmri_format")
    shapes = {source.id(index): source.shape(index) for index in range(len(source))}
    assert shapes["real_brain_8ch_000"] == (8, 230, 180)
    assert shapes["real_phantom_2ch_000"] == (2, 160, 160)  # stored with 320 rows, twice oversampled
    assert shapes["synth_multicoil_train_1_001"] == (4, 128, 128)
    assert shapes["synth_singlecoil_val_000"] == (1, 128, 128)
    for index, scan in enumerate(source):
        assert scan.id == source.id(index)
        assert tuple(scan.kspace.shape) == source.shape(index)
        assert scan.kspace.dtype == torch.complex64
        assert scan.acquired.shape == scan.kspace.shape[-1:]
        assert not scan.kspace[..., ~scan.acquired].any()


def test_the_real_masked_file_tells_its_mask_and_its_central_lines(shared_data):
    import h5py

    path = shared_data / "fastmri_format" / "synth_multicoil_test_masked.h5"
    scan = build(path)[0]
    with h5py.File(path) as file:
        assert np.array_equal(scan.acquired.numpy(), file["mask"][()])
    assert scan.acs_lines == 10


def test_the_image_has_the_values_of_the_reconstruction_in_the_file(shared_data):
    import h5py

    path = shared_data / "fastmri_format" / "synth_multicoil_train_0.h5"
    image = ifft2c(build(path)[1].kspace).abs().square().sum(0).sqrt()
    with h5py.File(path) as file:
        expected = torch.from_numpy(file["reconstruction_rss"][1])
    assert torch.allclose(image, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


# --- what an item is made of ----------------------------------------------------------------------------------------


def test_k_space_comes_back_unchanged(write_file):
    kspace = complex_noise(3, 2, 16, 12)
    scan = build(write_file(kspace=kspace))[2]
    assert np.array_equal(scan.kspace.numpy(), kspace[2])
    assert scan.acquired.all()
    assert scan.acs_lines is None
    assert scan.maps is None


def test_single_coil_k_space_gets_a_coil_axis(write_file):
    source = build(write_file(kspace=complex_noise(2, 16, 12)))
    assert source.shape(0) == (1, 16, 12)
    assert source[0].kspace.shape == (1, 16, 12)


@pytest.mark.parametrize("dtype", [np.complex128, np.dtype(">c8")])
def test_other_complex_types_become_complex64(write_file, dtype):
    kspace = complex_noise(1, 2, 16, 12)
    scan = build(write_file(kspace=kspace.astype(dtype)))[0]
    assert scan.kspace.dtype == torch.complex64
    assert np.array_equal(scan.kspace.numpy(), kspace[0])


def test_central_slices_and_limit(write_file, tmp_path):
    write_file("a", kspace=complex_noise(5, 1, 8, 8))
    write_file("b", kspace=complex_noise(2, 1, 8, 8))
    assert [build(tmp_path, slices=3).id(i) for i in range(5)] == ["a_001", "a_002", "a_003", "b_000", "b_001"]
    assert len(build(tmp_path, limit=4)) == 4
    assert len(build(tmp_path)) == 7


def test_the_root_expands_the_environment(write_file, tmp_path, monkeypatch):
    write_file()
    monkeypatch.setenv("MY_SCANS", str(tmp_path))
    assert len(build("${MY_SCANS}")) == 3
    monkeypatch.delenv("MY_SCANS")
    with pytest.raises(DataError, match="MY_SCANS"):
        build("${MY_SCANS}")


def test_readout_oversampling_is_cropped_in_the_image(write_file):
    kspace = complex_noise(1, 2, 16, 12)
    kspace[..., 5] = 0
    path = write_file(kspace=kspace, ismrmrd_header=header(16, 12, recon=8), mask=np.arange(12) != 5)
    source = build(path)
    assert source.shape(0) == (2, 8, 12)
    scan = source[0]
    whole = ifft2c(torch.from_numpy(kspace[0]))
    assert torch.allclose(ifft2c(scan.kspace), whole[:, 4:12], atol=1e-6)
    assert not scan.kspace[..., 5].any()
    assert build(path, remove_readout_oversampling=False).shape(0) == (2, 16, 12)


def test_an_odd_crop_keeps_the_central_pixel_central(write_file):
    image = np.zeros((1, 1, 16, 12), np.complex64)
    image[..., 8, 6] = 1
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
    scan = build(write_file(kspace=kspace.astype(np.complex64), ismrmrd_header=header(16, 12, recon=9)))[0]
    assert ifft2c(scan.kspace).abs()[0].argmax() == 4 * 12 + 6


def test_rows_of_an_asymmetric_echo_were_never_sampled(write_file):
    kspace = complex_noise(1, 2, 16, 12)
    kspace[:, :, :5] = 0
    path = write_file(kspace=kspace, ismrmrd_header=header(16, 12, recon=8))
    whole = build(path, remove_readout_oversampling=False)[0]
    assert torch.nonzero(whole.readout).flatten().tolist() == list(range(5, 16))
    assert np.array_equal(whole.kspace.numpy(), kspace[0])
    cropped = build(path)[0]
    assert torch.nonzero(cropped.readout).flatten().tolist() == list(range(3, 8))
    assert not cropped.kspace[:, :3].any()
    assert cropped.acquired.all()


def test_the_slices_of_a_file_are_a_stack(write_file):
    path = write_file("a")
    write_file("b", kspace=complex_noise(2, 2, 16, 12))
    assert build(path.parent).stacks() == (range(3), range(3, 5))
    assert build(path.parent, slices=1).stacks() == (range(1), range(1, 2))


def test_the_header_gives_spacing_and_field_strength_and_nothing_of_the_patient(write_file):
    text = header(16, 12).replace(
        "<encoding>",
        "<subjectInformation><patientName>DOE^JANE</patientName><patientID>4711</patientID>"
        "<patientBirthdate>1970-01-01</patientBirthdate></subjectInformation>"
        "<studyInformation><accessionNumber>ACC-99</accessionNumber></studyInformation><encoding>",
    )
    source = build(write_file(ismrmrd_header=text, attrs={"patient_id": "SECRET-1", "acquisition": "AXT2"}))
    scan = source[0]
    assert scan.geometry.spacing_mm == (20.0, 160 / 12)
    assert scan.geometry.affine is None
    assert source.header(0).field_strength_t == 2.89
    assert source.header(0).sequence_type == "Flash"
    everything = repr(dataclasses.asdict(scan)) + repr(source.header(0)) + str(pickle.dumps(source))
    for secret in ("DOE", "JANE", "4711", "1970", "ACC-99", "SECRET-1"):
        assert secret not in everything


def test_a_sequence_name_that_is_prose_is_dropped(write_file):
    text = header(16, 12).replace("Flash", "scanned for Dr. Who (ward 3)")
    assert build(write_file(ismrmrd_header=text)).header(0).sequence_type is None


def test_a_header_of_variable_length_bytes_is_read(write_file):
    import h5py

    path = write_file()
    with h5py.File(path, "a") as file:
        file.create_dataset("ismrmrd_header", data=header(16, 12), dtype=h5py.string_dtype())
    assert build(path)[0].geometry.spacing_mm is not None


# --- what was acquired ----------------------------------------------------------------------------------------------


def test_zero_padded_edges_were_never_acquired(write_file):
    kspace = complex_noise(1, 2, 16, 12)
    kspace[..., :2] = 0
    kspace[..., 11:] = 0
    kspace[0, :, :, 6] = 0
    kspace[0, 0, 3, 6] = 1  # one sample is enough for a measured column
    scan = build(write_file(kspace=kspace))[0]
    assert scan.acquired.tolist() == [False] * 2 + [True] * 9 + [False]
    assert scan.acs_lines is None  # a lower resolution, no gap


def test_values_whose_sum_overflows_are_still_finite(write_file):
    scan = build(write_file(kspace=np.full((1, 2, 16, 12), 3e38, np.complex64)))[0]
    assert scan.kspace.real.min() > 2e38


def test_a_column_measured_only_off_the_central_row_counts(write_file):
    kspace = complex_noise(1, 2, 16, 12)
    kspace[0, 0, 8] = 0  # the central row of the first coil
    kspace[..., 3] = 0
    assert build(write_file(kspace=kspace))[0].acquired.tolist() == [column != 3 for column in range(12)]


def test_the_header_limits_tell_the_padding_too(write_file):
    scan = build(write_file(ismrmrd_header=header(16, 12, last=8, centre=4)))[0]
    assert scan.acquired.tolist() == [False] * 2 + [True] * 9 + [False]
    assert not scan.kspace[..., :2].any()


def test_nothing_outside_the_mask_is_handed_out(write_file):
    mask = np.zeros(12, np.float32)
    mask[[0, 4, 5, 6, 7, 9]] = 1
    scan = build(write_file(mask=mask))[0]
    assert scan.acquired.tolist() == mask.astype(bool).tolist()
    assert not scan.kspace[..., mask == 0].any()
    assert scan.acs_lines == 4  # columns 4 to 7; the zero frequency is 6


def test_a_mask_may_differ_from_slice_to_slice(write_file):
    mask = np.random.default_rng(1).random((3, 12)) < 0.5
    mask[:, 6] = True
    source = build(write_file(mask=mask))
    assert [scan.acquired.tolist() for scan in source] == mask.tolist()


@pytest.mark.parametrize(("claimed", "lines"), [(2, 2), (4, 4), (9, 4), (-1, 4), ("four", 4)])
def test_claimed_central_lines_are_checked_against_the_mask(write_file, claimed, lines):
    mask = np.isin(np.arange(12), [0, 4, 5, 6, 7, 9])
    assert build(write_file(mask=mask, attrs={"num_low_frequency": claimed}))[0].acs_lines == lines


def test_stored_maps_are_cropped_with_the_image(write_file):
    maps = complex_noise(3, 2, 16, 12)
    scan = build(write_file(sensitivity_maps=maps, ismrmrd_header=header(16, 12, recon=8)))[1]
    assert np.array_equal(scan.maps.numpy(), maps[1][:, 4:12])


# --- how it reads ---------------------------------------------------------------------------------------------------


def test_only_the_slice_asked_for_is_read_and_never_a_reconstruction(write_file, monkeypatch):
    path = write_file(
        mask=np.ones(12), reconstruction_rss=np.zeros((3, 12, 12)), sensitivity_maps=complex_noise(3, 2, 16, 12)
    )
    seen = []

    def spy(dataset, index=None, count=None):
        seen.append((dataset.name, index))
        return original(dataset, index, count)

    original = hdf5.read
    for module in (hdf5, fastmri_hdf5):
        monkeypatch.setattr(module, "read", spy)
    source = build(path)
    source.shape(0)
    source.id(0)
    assert seen == []
    source[1]
    assert seen == [("/kspace", 1), ("/mask", None), ("/sensitivity_maps", 1)]


def test_what_is_announced_is_fetched_from_the_place_where_it_lies(write_file, tmp_path, monkeypatch):
    import h5py

    plain = write_file("a")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("kspace", data=complex_noise(3, 2, 16, 12), compression="gzip")
    source = build(tmp_path)
    asked = []
    monkeypatch.setattr(os, "posix_fadvise", lambda handle, start, size, advice: asked.append((start, size)))
    source.expect([1, 4])  # of the packed file nothing is known
    size = 2 * 16 * 12 * 8
    assert len(asked) == 2
    start, length = asked[1]
    assert plain.read_bytes()[start : start + length] == source[1].kspace.numpy().tobytes()
    assert length == size
    plain.unlink()
    source.expect([0])  # reading it will say that it is gone


def test_a_source_travels_to_another_process(write_file):
    source = build(write_file())
    source[0]
    again = pickle.loads(pickle.dumps(source))
    assert torch.equal(again[1].kspace, source[1].kspace)


def test_past_the_end(write_file):
    with pytest.raises(IndexError):
        build(write_file())[3]


def test_a_file_that_changes_after_indexing_is_noticed(write_file):
    source = build(path := write_file())
    write_file("other", kspace=complex_noise(3, 4, 16, 12)).replace(path)
    with pytest.raises(DataError, match=r"scan\.h5.*changed"):
        source[0]


def test_what_was_indexed_is_not_opened_again_for_its_first_slice(write_file, monkeypatch):
    source = build(write_file())
    monkeypatch.setattr(open_files, "open_file", lambda path: pytest.fail("opened again"))
    assert source[0].kspace.shape == (2, 16, 12)


def test_other_files_in_the_folder_are_left_alone(write_file, tmp_path):
    write_file()
    (tmp_path / "notes.txt").write_text("hello")
    assert len(FastMRIHDF5(tmp_path)) == 3
