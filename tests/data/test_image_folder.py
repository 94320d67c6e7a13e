import io
import pickle
import struct
import zlib

import numpy as np
import pydantic
import pytest
import torch
from PIL import Image

from rsd_med.base.errors import DataError
from rsd_med.data import decoding
from rsd_med.data.image_folder import ImageFolderSettings


def build(folder, **settings):
    return ImageFolderSettings(root=str(folder), **settings).build()


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def bytes_of(picture):
    return np.rint((picture.image.numpy() + 1) * 127.5).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "options"), [("a.png", {}), ("a.tif", {}), ("a.webp", {"lossless": True}), ("a.PNG", {})]
)
def test_lossless_formats_are_read_exactly(tmp_path, name, options):
    array = pixels(9, 12, 3)
    save(tmp_path / name, array, **options)
    source = build(tmp_path)
    picture = source[0]
    assert picture.id == source.id(0) == "a"
    assert picture.image.dtype == torch.float32
    assert picture.image.shape == source.shape(0) == (3, 9, 12)
    assert picture.image.is_contiguous()
    assert np.array_equal(bytes_of(picture), array.transpose(2, 0, 1))


def test_jpeg_is_read(tmp_path):
    save(tmp_path / "a.jpg", np.full((16, 16, 3), 128, dtype=np.uint8))
    assert build(tmp_path)[0].image.abs().max() < 0.02


def test_gray_and_rgb(tmp_path):
    array = pixels(8, 8)
    save(tmp_path / "a.png", array)
    assert np.array_equal(bytes_of(build(tmp_path, mode="gray")[0]), array[None])
    assert np.array_equal(bytes_of(build(tmp_path)[0]), np.repeat(array[None], 3, axis=0))


def test_palettes_and_transparency_become_rgb(tmp_path):
    array = pixels(8, 8, 4)
    array[..., 3] = 255
    save(tmp_path / "a.png", array)
    Image.fromarray(array[..., :3]).quantize(256).save(tmp_path / "b.png")
    source = build(tmp_path)
    assert np.array_equal(bytes_of(source[0]), array[..., :3].transpose(2, 0, 1))
    assert source[1].image.shape == (3, 8, 8)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_kept(tmp_path, suffix):
    array = np.array([[0, 65535], [32768, 1]], dtype=np.uint16)
    save(tmp_path / f"a.{suffix}", array)
    image = build(tmp_path, mode="gray")[0].image
    assert np.allclose((image[0].numpy() + 1) * 32767.5, array, atol=0.01)


def test_folders_are_searched_in_the_order_of_names(tmp_path):
    for name in ("b/2.png", "a/10.png", "c.png", "a/deep/1.png"):
        save(tmp_path / name, pixels(4, 4))
    save(tmp_path / ".hidden.png", pixels(4, 4))
    (tmp_path / "notes.txt").write_text("no image")
    source = build(tmp_path)
    assert [source.id(index) for index in range(len(source))] == ["a/10", "a/deep/1", "b/2", "c"]
    assert len(build(tmp_path, limit=2)) == 2
    assert len(build(tmp_path, include="1*.png")) == 2


@pytest.mark.parametrize(
    ("settings", "side"),
    [({"resize": 8}, 8), ({"crop": 10}, 10), ({"pad": 30}, 30), ({"crop": 12, "resize": 6, "pad": 9}, 9)],
)
def test_images_are_fitted(tmp_path, settings, side):
    save(tmp_path / "a.png", pixels(20, 14, 3))
    source = build(tmp_path, **settings)
    assert source[0].image.shape == source.shape(0) == (3, side, side)
    assert source[0].image.min() >= -1
    assert source[0].image.max() <= 1


def test_sheets_are_cut_into_tiles(tmp_path):
    tiles = pixels(2, 6, 4, 5, 3)  # two sheets of 2 x 3 tiles
    for number, sheet in enumerate(tiles):
        rows = sheet.reshape(2, 3, 4, 5, 3).transpose(0, 2, 1, 3, 4).reshape(8, 15, 3)
        save(tmp_path / f"sheet{number}.png", rows)
    source = build(tmp_path, tile=(4, 5))
    assert len(source) == 12
    assert source.shape(7) == (3, 4, 5)
    assert source.id(7) == "sheet1_0001"
    for index in (0, 5, 6, 11):
        assert np.array_equal(bytes_of(source[index]), tiles[index // 6, index % 6].transpose(2, 0, 1))
    with pytest.raises(IndexError):
        source[12]
    assert torch.equal(pickle.loads(pickle.dumps(source))[3].image, source[3].image)


def test_a_sheet_that_is_no_whole_number_of_tiles_is_refused(tmp_path):
    save(tmp_path / "sheet.png", pixels(8, 15))
    with pytest.raises(DataError, match=r"sheet\.png is 8 x 15 pixels, no whole number of 4 x 4 tiles"):
        build(tmp_path, tile=(4, 4))
    with pytest.raises(pydantic.ValidationError):
        build(tmp_path, tile=(0, 4))


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        build(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no png, jpg, webp or tif"):
        build(tmp_path)


def test_files_that_are_no_images_are_refused_when_read(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "void.png").touch()
    for index, name in enumerate(("text", "void")):
        with pytest.raises(DataError, match=rf"{name}\.png is no image"):
            build(tmp_path)[index]


def test_truncated_images_are_refused(tmp_path):
    save(tmp_path / "a.png", pixels(64, 64, 3))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.png is damaged or cut short") as caught:
        build(tmp_path)[0]
    assert str(tmp_path) not in str(caught.value)


def test_floating_point_images_are_refused(tmp_path):
    save(tmp_path / "a.tif", np.zeros((4, 4), dtype=np.float32))
    with pytest.raises(DataError, match="floating-point"):
        build(tmp_path)[0]


def png_declaring(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [9_200, 10_000, 60_000])
def test_images_that_declare_too_many_pixels_are_not_decoded(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_declaring(side, side))
    with pytest.raises(DataError, match=r"bomb\.png declares"):
        build(tmp_path)[0]


def test_a_small_limit_is_obeyed(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 99)
    save(tmp_path / "a.png", pixels(10, 10))
    with pytest.raises(DataError, match="declares 10 x 10 pixels"):
        build(tmp_path)[0]


def test_formats_nobody_asked_for_are_not_tried(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(pixels(4, 4)).save(buffer, "PPM")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="is no image"):
        build(tmp_path)[0]


def test_real_cifar_sheets(shared_data):
    source = build(shared_data / "cifar10", include="train_c*_0.webp", tile=(32, 32))
    assert len(source) == 10_000
    assert source.shape(0) == (3, 32, 32)
    images = torch.stack([source[index].image for index in range(0, 2000, 10)])
    assert images.std() > 0.3
    assert images.min() == -1
    assert images.max() == 1


@pytest.mark.parametrize(("kind", "pages"), [("PNG", 1), ("JPEG", 1), ("WEBP", 1), ("TIFF", 3)])
@pytest.mark.parametrize("name", ["slice", "slice.001", "slice.dat"])
def test_pictures_are_known_by_their_content(tmp_path, kind, pages, name):
    images = [Image.new("L", (6, 4), 40 * page) for page in range(pages)]
    images[0].save(tmp_path / name, kind, **({"save_all": True, "append_images": images[1:]} if pages > 1 else {}))
    (tmp_path / "notes").write_text("no picture")
    assert len(ImageFolderSettings(root=str(tmp_path), mode="gray").build()) == pages


def test_pictures_of_other_formats_are_left_out_and_that_is_said(tmp_path, caplog):
    Image.new("L", (6, 4)).save(tmp_path / "a.png")
    Image.new("L", (6, 4)).save(tmp_path / "b.gif")
    assert len(ImageFolderSettings(root=str(tmp_path)).build()) == 1
    assert "pictures left out: 1, b.gif the first" in caplog.text
