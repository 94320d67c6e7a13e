"""Files are recognised by what they hold, whatever they are called."""

import shutil

import h5py
import nibabel
import numpy as np
import pytest

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.notices import forget_what_was_said
from rsd_med.data.opening import READERS, open_scan
from rsd_med.data.scan import Picture, Scan

from .conftest import complex_noise, header
from .ismrmrd_files import lines_of, write, xml

REAL = {
    "fastmri_format/real_brain_8ch.h5": ("FastMRIHDF5", Scan),
    "mri_kspace_real/phantom_2ch_siemens_gre_ismrmrd.h5": ("ISMRMRD", Scan),
    "nifti_dicom/pcasl_4d.nii.gz": ("Nifti", Picture),
    "nifti_dicom/complex64_volume.nii.gz": ("Nifti", Picture),
    "nifti_dicom/mr_t1_series_1-001.dcm": ("Dicom", Picture),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_recognised(shared_data, tmp_path, name):
    kind, item = REAL[name]
    source = open_scan(shared_data / name)
    assert type(source).__name__ == kind
    assert isinstance(source[0], item)
    assert sum(map(len, source.stacks())) == len(source)
    if not name.endswith(".nii.gz"):  # a packed NIfTI file is told from an unpacked one by its name
        shutil.copy(shared_data / name, tmp_path / "upload$HOME")
        assert type(open_scan(tmp_path / "upload$HOME")).__name__ == kind


def test_every_kind_of_file(tmp_path):
    write(tmp_path / "a", xml(), lines_of(complex_noise(2, 16, 12)))
    nibabel.save(nibabel.Nifti2Image(complex_noise(4, 5, 3).real, np.eye(4)), tmp_path / "b.nii")
    np.save(tmp_path / "c.npy", complex_noise(2, 8, 8))
    with h5py.File(tmp_path / "d", "w") as file:
        file["kspace"] = complex_noise(3, 2, 16, 12)
    kinds = {name: type(open_scan(tmp_path / name)).__name__ for name in ("a", "b.nii", "c.npy", "d")}
    assert kinds == {"a": "ISMRMRD", "b.nii": "Nifti", "c.npy": "Arrays", "d": "FastMRIHDF5"}
    assert open_scan(tmp_path / "d").stacks() == (range(3),)


@pytest.mark.parametrize(
    ("mask", "kind"),
    [((12,), "FastMRIHDF5"), ((3, 12), "FastMRIHDF5"), ((16, 12), "RawArrays"), ((3, 16, 12), "RawArrays")],
)
def test_a_mask_of_the_columns_of_each_slice_is_fastmris(tmp_path, mask, kind):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"], file["mask"] = complex_noise(3, 2, 16, 12), np.ones(mask, bool)
    source = open_scan(tmp_path / "scan.h5")
    assert type(source).__name__ == kind
    assert source[2].kspace.shape == (2, 16, 12)


def test_a_folder_is_read_by_the_first_kind_in_it(tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    nibabel.save(nibabel.Nifti1Image(complex_noise(4, 5, 3).real, np.eye(4)), tmp_path / "z.nii")
    assert len(open_scan(tmp_path)) == 3


def test_numbers_of_an_array_go_from_zero_to_their_largest(tmp_path):
    values = np.linspace(0.5, 4, 64).reshape(1, 8, 8)
    np.save(tmp_path / "a.npy", values)
    assert np.allclose(open_scan(tmp_path / "a.npy")[0].image[0], values[0] / 2 - 1, atol=1e-6)


def test_what_nobody_reads(tmp_path):
    (tmp_path / "a.h5").write_text("no HDF5")
    (tmp_path / "empty").touch()
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["image"] = np.zeros(3)
    (tmp_path / "c.h5").write_bytes((tmp_path / "b.h5").read_bytes()[:300])
    (tmp_path / "d.nii.gz").write_bytes(b"\x1f\x8b damaged")
    for name in ("a.h5", "empty", "b.h5", "d.nii.gz"):
        with pytest.raises(DataError, match="is recognised"):
            open_scan(tmp_path / name)
    with pytest.raises(DataError, match="damaged"):
        open_scan(tmp_path / "c.h5")
    with pytest.raises(DataError, match="no such file"):
        open_scan(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="holds no file"):
        open_scan(tmp_path / "folder")
    with pytest.raises(ProtocolError, match="no reader 'tiff'"):
        open_scan(tmp_path / "a.h5", kind="tiff")


@pytest.mark.parametrize("kind", sorted(READERS))
def test_the_wrong_reader_says_so(tmp_path, kind):
    (tmp_path / "a.bin").write_bytes(b"something else" * 100)
    with pytest.raises(DataError):
        open_scan(tmp_path / "a.bin", kind=kind)


def test_a_damaged_table_of_contents_is_told_in_a_sentence(tmp_path):
    """Found by fuzzing: asking for a member of a damaged root group raised an error of HDF5's own."""
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = np.ones((1, 1, 4, 4), np.complex64)
    content = path.read_bytes()
    for signature in (b"TREE", b"HEAP", b"SNOD"):
        place = content.index(signature)
        path.write_bytes(content[:place] + b"????" + content[place + 4 :])
        with pytest.raises(DataError, match=r"scan\.h5"):
            open_scan(path)[0]


@pytest.mark.parametrize(
    ("shape", "header", "guess"),
    [((8, 16, 12), None, True), ((8, 16, 12), header(16, 12), False), ((8, 2, 16, 12), None, False)],
)
def test_three_axes_without_a_header_are_slices_by_a_guess_that_is_said(tmp_path, caplog, shape, header, guess):
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["kspace"] = complex_noise(*shape)
        if header is not None:
            file["ismrmrd_header"] = header
    forget_what_was_said()
    assert len(open_scan(tmp_path / "bare.h5")) == 8
    said = [record.getMessage() for record in caplog.records]
    assert ["bare.h5: 'kspace' has three axes and no header" in sentence for sentence in said] == [True] * guess


@pytest.mark.parametrize("dtype", [np.complex64, np.float32])
def test_an_array_of_complex_numbers_is_images_by_a_guess_that_is_said(tmp_path, caplog, dtype):
    np.save(tmp_path / "bare.npy", complex_noise(8, 16, 12).astype(dtype) if dtype == np.complex64 else np.eye(8)[None])
    forget_what_was_said()
    open_scan(tmp_path / "bare.npy")
    said = [record.getMessage() for record in caplog.records]
    assert ["(8, 16, 12), is taken for 8 images" in sentence for sentence in said] == [True] * (dtype == np.complex64)
