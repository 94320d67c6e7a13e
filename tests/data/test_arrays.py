import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pydantic
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.data import arrays
from rsd_med.data.arrays import ArraysSettings


def build(path, **settings):
    return ArraysSettings(root=str(path), **settings).build()


def saved(tmp_path, array, name="images.npy"):
    np.save(tmp_path / name, array)
    return tmp_path / name


def numbers(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def test_bytes_become_minus_one_to_one(tmp_path):
    images = numbers(5, 8, 9)
    images[0, 0, :2] = 0, 255
    source = build(saved(tmp_path, images))
    picture = source[0]
    assert len(source) == 5
    assert picture.id == source.id(0) == "images_000000"
    assert picture.image.shape == source.shape(0) == (1, 8, 9)
    assert picture.image.dtype == torch.float32
    assert picture.image[0, 0, :2].tolist() == [-1, 1]
    assert np.allclose((source[3].image[0].numpy() + 1) * 127.5, images[3], atol=1e-4)
    assert picture.geometry.affine is None


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((4, 16, 17, 3), "auto", (3, 16, 17)),
        ((4, 3, 16, 17), "auto", (3, 16, 17)),
        ((4, 16, 17, 1), "auto", (1, 16, 17)),
        ((4, 3, 16, 3), "last", (3, 3, 16)),
        ((4, 3, 16, 3), "first", (3, 16, 3)),
    ],
)
def test_channels_are_found(tmp_path, shape, channels, expected):
    images = numbers(*shape)
    source = build(saved(tmp_path, images), channels=channels)
    assert source[1].image.shape == source.shape(1) == expected
    wanted = np.moveaxis(images[1], -1, 0) if expected[0] == shape[3] and channels != "first" else images[1]
    assert np.allclose((source[1].image.numpy() + 1) * 127.5, wanted, atol=1e-4)


def test_numbers_need_a_declared_range(tmp_path):
    path = saved(tmp_path, np.linspace(0, 1, 48, dtype=np.float64).reshape(3, 4, 4))
    with pytest.raises(DataError, match=r"images\.npy holds float64: say .* range: \[0, 1\]"):
        build(path)
    source = build(path, range=(0, 1))
    assert source[0].image.min() == -1
    assert source[2].image.max() == 1
    with pytest.raises(DataError, match="outside the declared range"):
        build(path, range=(0, 0.5))[2]
    with pytest.raises(pydantic.ValidationError, match="below"):
        ArraysSettings(root="x", range=(1, 0))


def test_sixteen_bits_with_a_range(tmp_path):
    path = saved(tmp_path, np.array([[[0, 4095], [2048, 1]]], dtype=np.uint16))
    assert build(path, range=(0, 4095))[0].image.flatten()[:2].tolist() == [-1, 1]


def test_complex_images_are_scaled(tmp_path):
    images = (numbers(2, 16, 16) + 1j * numbers(2, 16, 16)).astype(np.complex64)
    path = saved(tmp_path, images)
    picture = build(path)[1]
    assert picture.image.dtype == torch.complex64
    assert picture.image.shape == (1, 16, 16)
    assert torch.quantile(picture.image.abs(), 0.99).item() == pytest.approx(1)
    assert np.allclose(build(path, scale=10.0)[1].image[0].numpy(), images[1] / 10)


def test_two_real_channels_are_real_and_imaginary(tmp_path):
    samples = np.random.default_rng(0).standard_normal((3, 2, 8, 8)).astype(np.float32)
    source = build(saved(tmp_path, samples), scale=1.0)
    assert source.shape(0) == (1, 8, 8)
    assert np.allclose(source[0].image[0].numpy(), samples[0, 0] + 1j * samples[0, 1])


def test_padding_and_resizing(tmp_path):
    source = build(saved(tmp_path, numbers(2, 28, 28)), pad=32)
    assert source[0].image.shape == source.shape(0) == (1, 32, 32)
    assert (source[0].image[0, :2] == -1).all()
    wide = build(saved(tmp_path, numbers(2, 20, 30)), resize=10)
    assert wide[0].image.shape == wide.shape(0) == (1, 10, 10)


def test_a_part_of_the_images(tmp_path):
    path = saved(tmp_path, numbers(10, 4, 4))
    assert [build(path, skip=2, limit=3).id(i)[-1] for i in range(3)] == ["2", "3", "4"]
    assert len(build(path, skip=8, limit=5)) == 2
    chosen = build(path, indices=(7, 1))
    assert len(chosen) == 2
    assert torch.equal(chosen[0].image, build(path)[7].image)
    with pytest.raises(DataError, match="10 images, and indices asks for number 10"):
        build(path, indices=(0, 10))
    with pytest.raises(DataError, match="none is left"):
        build(path, skip=10)
    with pytest.raises(IndexError):
        chosen[2]
    with pytest.raises(IndexError):
        chosen.shape(2)


def test_archives_by_key(tmp_path):
    images = numbers(3, 4, 4)
    np.savez_compressed(tmp_path / "set.npz", images=images, label=np.arange(3))
    np.savez(tmp_path / "other.npz", train=images, test=images[:1])
    assert torch.equal(build(tmp_path / "set.npz")[1].image, build(saved(tmp_path, images))[1].image)
    assert len(build(tmp_path / "other.npz", key="test")) == 1
    with pytest.raises(DataError, match=r"other\.npz has no array 'images' \(it holds test, train\): set key"):
        build(tmp_path / "other.npz")
    with pytest.raises(DataError, match="has no array 'valid'"):
        build(tmp_path / "other.npz", key="valid")


def test_npy_files_are_read_image_by_image_and_not_sent_along(tmp_path):
    source = build(saved(tmp_path, numbers(1000, 16, 16)))
    first = source[5].image
    assert source._data is None
    sent = pickle.dumps(source)
    assert len(sent) < 20_000
    assert torch.equal(pickle.loads(sent)[5].image, first)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "<c8", ">c8"])
def test_every_order_of_numbers_is_read(order, dtype, tmp_path):
    images = np.random.default_rng(0).integers(1, 255, (5, 4, 3)).astype(dtype)
    np.save(tmp_path / "set.npy", np.asarray(images, order=order))
    for number, picture in enumerate(build(tmp_path / "set.npy", **({"scale": 1.0} if "c" in dtype else {}))):
        expected = images[number] if "c" in dtype else images[number] / 127.5 - 1
        assert np.allclose(picture.image.numpy()[0], expected, atol=1e-6)


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path):
    """In a process of its own: a mapped file that is cut short would end it by SIGBUS."""
    program = (
        "import numpy as np, os, pickle, sys\n"
        "from pathlib import Path\n"
        "from rsd_med.base.errors import DataError\n"
        "from rsd_med.data.arrays import ArraysSettings\n"
        "path = Path(sys.argv[1])\n"
        "accidents = {\n"
        "    'cut': lambda: os.truncate(path, 5000),\n"
        "    'emptied': lambda: os.truncate(path, 0),\n"
        "    'smaller': lambda: np.save(path, np.zeros((3, 64, 64), np.uint8)),\n"
        "    'alike': lambda: np.save(path, np.zeros((300, 64, 64), np.uint8)),\n"
        "    'removed': path.unlink,\n"
        "}\n"
        "for name, happen in accidents.items():\n"
        "    np.save(path, np.ones((300, 64, 64), np.uint8))\n"
        "    source = ArraysSettings(root=str(path)).build(); source[299]\n"
        "    happen()\n"
        "    for one in (source, pickle.loads(pickle.dumps(source))):\n"
        "        try: one[299]\n"
        "        except DataError as error: print(name, error)\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "set.npy")]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    accidents = ("cut", "emptied", "smaller", "alike", "removed")
    assert [line.split()[0] for line in lines] == [name for name in accidents for _ in range(2)]
    assert all("The array file set.npy has changed since it was opened" in line for line in lines[:-2])
    assert all("The array file set.npy is not there any more" in line for line in lines[-2:])


@pytest.mark.parametrize(
    ("array", "settings", "sentence"),
    [
        (np.array([[["a"]]], dtype=object), {}, "is no NumPy file, or a damaged one|holds object"),
        (np.array([[["text"]]]), {}, "not numbers"),
        (np.zeros((2, 2, 2), dtype=bool), {}, "holds bool, not numbers"),
        (np.zeros((2, 2, 2), dtype=[("a", "f4")]), {}, "not numbers"),
        (np.zeros((4, 4), dtype=np.uint8), {}, r"shape \(4, 4\): expected"),
        (np.zeros((1, 2, 4, 4, 4), dtype=np.uint8), {}, "expected"),
        (np.zeros((0, 4, 4), dtype=np.uint8), {}, "is empty"),
        (np.zeros((4, 0, 4), dtype=np.uint8), {}, "is empty"),
        (np.zeros((4, 8, 9, 5), dtype=np.uint8), {}, "leaves open where the channels are"),
        (np.zeros((4, 2, 8, 3), dtype=np.uint8), {}, "leaves open where the channels are"),
        (np.zeros((4, 8, 9, 5), dtype=np.uint8), {"channels": "last"}, "has 5 channels"),
        (np.zeros((4, 8, 9, 2), dtype=np.uint8), {}, "has 2 channels: uint8 images may have 1 or 3"),
        (np.zeros((4, 3, 8, 9), dtype=np.complex64), {}, "has 3 channels"),
    ],
)
def test_impossible_arrays_are_refused_when_building(tmp_path, array, settings, sentence):
    with pytest.raises(DataError, match=sentence) as caught:
        build(saved(tmp_path, array), **settings)
    assert "images.npy" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused_when_read(tmp_path, bad):
    images = np.zeros((2, 4, 4), dtype=np.float32)
    images[1, 2, 2] = bad
    source = build(saved(tmp_path, images), range=(0, 1))
    source[0]
    with pytest.raises(DataError, match="image 1 holds NaN or infinite"):
        source[1]


def test_an_all_zero_complex_image_stays_zero(tmp_path):
    image = build(saved(tmp_path, np.zeros((1, 4, 4), dtype=np.complex64)))[0].image
    assert torch.equal(image, torch.zeros(1, 4, 4, dtype=torch.complex64))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch, name):
    (tmp_path / name).touch()

    def refuse(path, *_arguments, **_names):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(tmp_path), "open", refuse)  # root may read everything
    with pytest.raises(DataError, match=rf"{name} may not be read: give yourself permission"):
        build(tmp_path / name)


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.npy does not exist"):
        build(tmp_path / "nothing.npy")
    for name in ("text.npy", "text.npz"):
        (tmp_path / name).write_text("these are no numbers")
        with pytest.raises(DataError, match="is no NumPy file"):
            build(tmp_path / name)
    (tmp_path / "empty.npy").touch()
    with pytest.raises(DataError, match="is no NumPy file"):
        build(tmp_path / "empty.npy")
    (tmp_path / "images.csv").touch()
    with pytest.raises(DataError, match="is neither"):
        build(tmp_path / "images.csv")


def test_truncated_files_are_refused(tmp_path):
    path = saved(tmp_path, numbers(10, 8, 8))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cut short"):
        build(path)[0]


def test_an_archive_that_unpacks_to_far_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MAX_NPZ_BYTES", 10_000)
    np.savez_compressed(tmp_path / "bomb.npz", np.zeros((100, 16, 16), dtype=np.uint8))
    with pytest.raises(DataError, match="larger than what can be held"):
        build(tmp_path / "bomb.npz")
    with zipfile.ZipFile(tmp_path / "zeros.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(20_000))
    with pytest.raises(DataError, match="is no NumPy file"):
        build(tmp_path / "zeros.npz")


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.save(tmp_path / "trap.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "trap.npz", images=np.array([[[Trap()]]], dtype=object), allow_pickle=True)
    for name, key in (("trap.npy", None), ("trap.npz", "images")):
        with pytest.raises(DataError):
            build(tmp_path / name, key=key)[0]


def test_real_mnist(shared_data):
    source = build(shared_data / "mnist" / "mnist.npz", key="x_test", pad=32)
    assert len(source) == 10_000
    pictures = torch.stack([source[index].image for index in range(200)])
    assert pictures.shape == (200, 1, 32, 32)
    assert pictures.min() == -1
    assert pictures.max() == 1
    assert -0.9 < pictures.mean() < -0.7


def test_real_brain_slices(shared_data):
    source = build(shared_data / "brain_t1_axial_oasis" / "test_64.npz")
    assert len(source) == 484
    assert source[100].image.shape == (1, 64, 64)
    assert source[100].image[0, 0, 0] == -1
