"""Generated images in files: the numbers come back, and nothing claims to lie in a patient."""

import errno
import os

import h5py
import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from rsd_med.base.errors import ProtocolError
from rsd_med.runs.export import require_room, require_unused, write_images
from rsd_med.runs.grids import WHITE, save_gallery, save_grid, to_grey_levels
from tests.training.toys import generator


def images(channels, count=3, height=5, width=7):
    return 0.4 * torch.randn(count, channels, height, width, generator=generator())


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_arrays_are_written_as_they_are(tmp_path, channels):
    given = images(channels)
    path = write_images(given, tmp_path / "new" / "folder", "npy")
    assert path == tmp_path / "new" / "folder" / "samples.npy"
    found = np.load(path)
    assert found.dtype == np.float32
    assert np.array_equal(found, given.numpy())


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB")])
def test_pictures_have_a_fixed_window(tmp_path, channels, mode):
    given = images(channels)
    folder = write_images(given, tmp_path, "png")
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"sample_{i:05d}.png" for i in range(3)]
    with Image.open(files[1]) as picture:
        assert picture.mode == mode
        assert picture.size == (7, 5)
        assert np.array_equal(np.asarray(picture), to_grey_levels(given)[1])


def test_grey_levels_are_those_of_the_units():
    real = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).reshape(1, 1, 1, 5)
    assert to_grey_levels(real).tolist() == [[[0, 0, 128, 255, 255]]]
    imaginary = torch.tensor([0.0, WHITE / 2, WHITE, 3.0]).reshape(1, 1, 1, 4)
    both = torch.cat([torch.zeros_like(imaginary), imaginary], dim=1)
    assert to_grey_levels(both).tolist() == [[[0, 128, 255, 255]]]
    colours = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1)
    assert to_grey_levels(colours).tolist() == [[[[0, 128, 255]]]]


@pytest.mark.parametrize("channels", [1, 2])
def test_volumes_claim_no_orientation(tmp_path, channels):
    given = images(channels)
    path = write_images(given, tmp_path, "nifti")
    assert path.name == "samples.nii.gz"
    found = nibabel.load(path)
    assert int(found.header["sform_code"]) == 0
    assert int(found.header["qform_code"]) == 0
    assert found.header.get_sform(coded=True) == (None, 0)
    assert found.header.get_qform(coded=True) == (None, 0)
    assert b"not for diagnosis" in found.header["descrip"].tobytes()
    values = np.asanyarray(found.dataobj)
    assert values.shape == (7, 5, 3)  # columns, rows, one slice an image
    assert values.dtype == np.float32
    expected = given.norm(dim=1) if channels == 2 else (given[:, 0] + 1) / 2
    assert np.allclose(values, expected.permute(2, 1, 0).numpy(), atol=1e-6)


def test_colours_are_no_volume(tmp_path):
    """One channel of three would be a quiet loss."""
    with pytest.raises(ProtocolError, match="colour"):
        write_images(images(3), tmp_path / "out", "nifti")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.float32), (2, np.complex64), (3, np.float32)])
def test_hdf5_keeps_the_phase(tmp_path, channels, dtype):
    given = images(channels)
    path = write_images(given, tmp_path, "hdf5")
    with h5py.File(path) as file:
        found = file["images"][()]
        assert "not for diagnosis" in file.attrs["note"]
    assert found.dtype == dtype
    expected = given.numpy() if channels != 2 else given[:, :1].numpy() + 1j * given[:, 1:].numpy()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("form", "writer"),
    [
        ("npy", "numpy.save"),
        ("png", "PIL.Image.Image.save"),
        ("nifti", "nibabel.save"),
        ("hdf5", "h5py.Group.create_dataset"),
    ],
)
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, form, writer):
    write_images(images(2), tmp_path, form)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def half(*args, **kwargs):
        for path in (given for given in args if isinstance(given, os.PathLike)):
            with open(path, "wb") as file:
                file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer, half)
    with pytest.raises(OSError, match="No space left"):
        write_images(images(2) + 1, tmp_path, form)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("channels", "shape"), [(2, (10, 56)), (3, (10, 56, 3))])
def test_a_grid_is_filled_row_by_row(tmp_path, channels, shape):
    given = images(channels, count=19)  # two rows of eight; three are left out
    save_grid(given, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == shape
    levels = to_grey_levels(given)
    assert np.array_equal(sheet[:5, 7:14], levels[1])
    assert np.array_equal(sheet[5:, :7], levels[8])


def test_a_grid_of_few_images_is_one_row(tmp_path):
    save_grid(images(1, count=3), tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (21, 5)


def test_a_gallery_holds_the_first_images(tmp_path):
    given = images(2, count=70)
    save_gallery(tmp_path / "gallery", "student", given)
    assert np.array_equal(np.load(tmp_path / "gallery" / "student.npy"), given[:64].numpy())


def test_of_a_set_of_pictures_none_stays_when_the_disk_is_full(tmp_path, monkeypatch):
    from PIL import Image

    save, calls = Image.Image.save, []

    def save_some(self, path, *given):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, path, *given)

    monkeypatch.setattr(Image.Image, "save", save_some)
    with pytest.raises(OSError, match="No space"):
        write_images(images(2).repeat(5, 1, 1, 1), tmp_path, "png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["npy", "png", "nifti", "hdf5"])
def test_a_folder_of_samples_takes_no_others(form, tmp_path):
    require_unused(tmp_path / "none")
    (tmp_path / "notes.txt").touch()
    require_unused(tmp_path)
    write_images(images(2), tmp_path, form)
    with pytest.raises(ProtocolError, match="holds samples already"):
        require_unused(tmp_path)


def test_more_images_than_memory_holds_are_refused():
    require_room(1000, (2, 320, 320))
    with pytest.raises(ProtocolError, match=r"1,000,000,000,000 images take .* GiB of memory"):
        require_room(10**12, (2, 16, 16))
