"""One rule for what a file is and which files of a folder are data, for every reader."""

import gzip
import shutil
import zipfile
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

from rsd_med.base.errors import DataError
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5Settings
from rsd_med.data.image_folder import ImageFolderSettings
from rsd_med.data.image_zip import ImageZipSettings
from rsd_med.data.ismrmrd import ISMRMRDSettings
from rsd_med.data.nifti import NiftiSettings, holds_nifti
from rsd_med.data.opening import open_scan
from rsd_med.data.raw_arrays import RawArraySettings
from rsd_med.data.recognition import kind_of_file

from .conftest import complex_noise
from .ismrmrd_files import lines_of, write, xml


def nifti(path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(complex_noise(4, 5, 3).real, np.eye(4)), path)
    return path


def fastmri(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["kspace"] = complex_noise(3, 2, 16, 12)
    return path


def raw(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["kspace"] = complex_noise(2, 16, 12)
        file["mask"] = np.ones((16, 12), bool)
    return path


def ismrmrd(path: Path) -> Path:
    return write(path, xml(), lines_of(complex_noise(2, 16, 12)))


def picture(path: Path) -> Path:
    from PIL import Image

    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path, format="PNG")
    return path


READERS = [
    (FastMRIHDF5Settings, fastmri, "scan.h5", 3),
    (ISMRMRDSettings, ismrmrd, "scan.mrd", 1),
    (RawArraySettings, raw, "scan.h5", 1),
    (NiftiSettings, nifti, "scan.nii", 3),
    (ImageFolderSettings, picture, "scan.png", 1),
]


@pytest.mark.parametrize(("settings", "make", "name", "items"), READERS)
def test_what_macos_leaves_beside_the_files_is_no_data(tmp_path, settings, make, name, items):
    make(tmp_path / name)
    for hidden in (f"._{name}", f".{name}", ".DS_Store"):
        (tmp_path / hidden).write_bytes(b"\0\5\x16\7" + bytes(4076))
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / name).write_bytes(b"\0\5\x16\7" + bytes(4076))
    source = settings(root=str(tmp_path)).build()
    assert len(source) == items
    assert source.id(0).startswith("scan")


def test_hidden_entries_of_an_archive_are_no_data(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("00/img1.png", "00/._img1.png", "__MACOSX/00/img1.png", ".x/img2.png"):
            archive.write(picture(tmp_path / "a.png"), name)
    assert ImageZipSettings(root=str(tmp_path / "a.zip")).build().names == ["00/img1.png"]


@pytest.mark.parametrize(("settings", "make", "kind", "items"), [
    (FastMRIHDF5Settings, fastmri, "fastmri_hdf5", 3),
    (ISMRMRDSettings, ismrmrd, "ismrmrd", 1),
    (RawArraySettings, raw, "raw_arrays", 1),
    (NiftiSettings, nifti, "nifti", 3),
])  # fmt: skip
@pytest.mark.parametrize("name", ["scan", "scan.dat", "scan.h5.bak"])
def test_a_file_of_the_kind_is_taken_from_a_folder_whatever_its_name(tmp_path, settings, make, kind, items, name):
    made = make(tmp_path / f"made.{'nii' if kind == 'nifti' else 'h5'}")
    (tmp_path / "folder").mkdir()
    shutil.move(made, tmp_path / "folder" / name)
    (tmp_path / "folder" / "notes.txt").write_text("what was done")
    assert kind_of_file(tmp_path / "folder" / name) == kind
    source = settings(root=str(tmp_path / "folder")).build()
    assert len(source) == items
    assert np.isfinite(np.asarray(getattr(source[0], "kspace", getattr(source[0], "image", None)))).all()


NAMES = ["a.nii", "a.nii.gz", "a.nii.gzip", "a.NII.GZ", "a.gz", "a", "a.img", "sub-01_T1w.nii.gz.download"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_nifti_under_any_name(tmp_path, name, packed):
    content = nifti(tmp_path / "made.nii").read_bytes()
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / name
    path.write_bytes(gzip.compress(content) if packed else content)
    wanted = NiftiSettings(root=str(tmp_path / "made.nii")).build()[1].image
    for root in (path, path.parent):
        source = NiftiSettings(root=str(root)).build()
        assert np.array_equal(source[1].image, wanted)
        assert ".gz" not in source.id(0).replace(".gz.download", "")
        assert holds_nifti(root)
        assert type(open_scan(root)).__name__ == "Nifti"
        assert np.array_equal(open_scan(root)[1].image, wanted)


def test_two_files_that_would_have_one_id_are_refused(tmp_path):
    for name in ("a.nii", "a.nii.gz"):
        nifti(tmp_path / name)
    with pytest.raises(DataError, match=r"a\.nii and a\.nii\.gz"):
        NiftiSettings(root=str(tmp_path)).build()


def refused(monkeypatch, name):
    """Make one file unreadable: tests may run as root, whom nothing is forbidden."""

    def open_(path, *arguments, opened=Path.open, **options):
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_)


def test_a_file_that_may_not_be_read_is_named_and_not_skipped(tmp_path, monkeypatch):
    (tmp_path / "sub-01").mkdir()
    nifti(tmp_path / "b.nii")
    for name, where in (("v.nii.gz", r"sub-01/v\.nii\.gz may not be read"), ("v", r"v: the file may not be read")):
        path = tmp_path / "sub-01" / name
        shutil.copy(tmp_path / "b.nii", path)
        with monkeypatch.context() as patch:
            refused(patch, name)
            with pytest.raises(DataError, match=where):
                NiftiSettings(root=str(tmp_path)).build()
        path.unlink()


def test_a_file_that_vanishes_while_it_is_used_is_named(tmp_path):
    source = NiftiSettings(root=str(nifti(tmp_path / "a.nii"))).build()
    (tmp_path / "a.nii").unlink()
    with pytest.raises(DataError, match=r"a\.nii is not there any more"):
        source[0]


def test_messages_say_in_which_folder_a_file_lies(tmp_path):
    for subject in ("sub-01", "sub-02"):
        (tmp_path / subject / "anat").mkdir(parents=True)
        nifti(tmp_path / subject / "anat" / "v.nii")
    path = tmp_path / "sub-02" / "anat" / "v.nii"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError, match=r"sub-02/anat/v\.nii is shorter"):
        NiftiSettings(root=str(tmp_path)).build()


def test_slices_of_one_voxel_are_refused_with_a_remedy(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.arange(9.0).reshape(1, 1, 9), np.eye(4)), tmp_path / "line.nii")
    with pytest.raises(DataError, match=r"line\.nii has slices of one voxel across axis 2: choose data\.axis"):
        NiftiSettings(root=str(tmp_path)).build()


def test_the_given_folder_of_macos(shared_data):
    folder = shared_data.parent / "cases" / "raw" / "fastmri_with_appledouble"
    if not folder.is_dir():
        pytest.skip("the cases are not here")
    source = FastMRIHDF5Settings(root=str(folder)).build()
    assert {source.id(index)[:11] for index in range(len(source))} == {"file1000001", "file1000002"}
    assert type(open_scan(folder)).__name__ == "FastMRIHDF5"
