"""What pictures hold besides their pixels (a turn, pages, more bits, transparency) is read, or said."""

import logging

import numpy as np
import pytest
import tifffile
from PIL import Image

from rsd_med.base.notices import forget_what_was_said
from rsd_med.data.image_folder import ImageFolderSettings
from rsd_med.data.image_zip import ImageZipSettings

from .test_image_zip import pack

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
# By the EXIF standard: how the stored rows and columns are turned to stand upright.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.fixture
def said(caplog):
    forget_what_was_said()
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def build(folder, **settings):
    return ImageFolderSettings(root=str(folder), **settings).build()


def levels(picture, white=255):
    return np.rint((picture.image.numpy() + 1) * white / 2).astype(int)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_pictures_stand_upright(tmp_path, said, suffix, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(IMAGE).save(tmp_path / f"a.{suffix}", exif=exif, **options)
    upright = TURNS[turn](IMAGE)
    source = build(tmp_path)
    assert source.shape(0) == (3, *upright.shape[:2])
    assert np.array_equal(levels(source[0]), upright.transpose(2, 0, 1))
    assert said() == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_page_of_a_tiff_is_an_image_and_a_file_a_stack(tmp_path, said, dtype):
    stack = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (10, 8, 12)).astype(dtype)
    tifffile.imwrite(tmp_path / "b.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "a.tif", stack[0])
    Image.fromarray(stack[1]).save(tmp_path / "c.png")
    source = build(tmp_path, mode="gray")
    assert [source.id(index) for index in (0, 1, 10, 11)] == ["a", "b_page000", "b_page009", "c"]
    assert source.stacks() == (range(1), range(1, 11), range(11, 12))
    white = np.iinfo(dtype).max
    for page in range(10):
        assert np.allclose(levels(source[1 + page], white)[0], stack[page], atol=white // 50000)
    assert source.shape(5) == (1, 8, 12)
    assert len(build(tmp_path, mode="gray", limit=4)) == 4
    assert said() == []


def test_pages_of_different_sizes_have_their_own(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for side in (8, 6):
            writer.write(np.full((side, 2 * side), side, np.uint8))
    source = build(tmp_path, mode="gray")
    assert [source.shape(page) for page in (0, 1)] == [(1, 8, 16), (1, 6, 12)]
    assert [source[page].image.shape for page in (0, 1)] == [(1, 8, 16), (1, 6, 12)]


def test_frames_that_are_not_read_are_said(tmp_path, said):
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (0, 100, 200)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "b.tif", save_all=True, append_images=frames[1:])
    pack(tmp_path / "all.zip", {name: (tmp_path / name).read_bytes() for name in ("a.png", "b.tif")})
    archive = ImageZipSettings(root=str(tmp_path / "all.zip"), mode="gray").build()
    sheets = build(tmp_path, mode="gray", include="*.tif", tile=(4, 4))
    for source, item in ((build(tmp_path, mode="gray", include="*.png"), 0), (sheets, 0), (archive, 0), (archive, 1)):
        forget_what_was_said()
        source[item], source[item]
    assert ["holds 3 pages or frames, and the first is read" in sentence for sentence in said()] == [True] * 4


def test_sixteen_bits_a_colour_become_eight_and_that_is_said(tmp_path, said):
    deep = (IMAGE.astype(np.uint16) << 8) + 77
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb")
    write_deep_png(tmp_path / "b.png", deep)
    source = build(tmp_path)
    for index in (0, 1):
        assert np.abs(levels(source[index]) - IMAGE.transpose(2, 0, 1)).max() <= 1
    assert ["16 bits a colour, of which 8 are read" in sentence for sentence in said()] == [True]


def write_deep_png(path, values):
    """Write what Pillow cannot: 16 bits in three colours."""
    import struct
    import zlib

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize(("largest", "dark"), [(4095, True), (1000, True), (4096, False), (65535, False)])
def test_twelve_bits_in_sixteen_are_said_and_can_be_told(tmp_path, said, largest, dark):
    values = np.linspace(0, largest, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.png")
    pack(tmp_path / "a.zip", {"a.png": (tmp_path / "a.png").read_bytes()})
    assert build(tmp_path, mode="gray")[0].image.max() == pytest.approx(2 * largest / 65535 - 1, abs=1e-6)
    assert [f"no value above {largest}" in sentence for sentence in said()] == [True] * dark
    forget_what_was_said()
    for source in (build(tmp_path, mode="gray", white=4095), ImageZipSettings(
            root=str(tmp_path / "a.zip"), mode="gray", white=4095).build()):  # fmt: skip
        wanted = np.clip(values / 4095, 0, 1) * 2 - 1
        assert np.allclose(source[0].image[0], wanted, atol=1e-6)
    assert len(said()) == dark


@pytest.mark.parametrize(("alpha", "transparent"), [(255, False), (128, True)])
def test_transparency_is_not_read_and_that_is_said(tmp_path, said, alpha, transparent):
    Image.fromarray(np.dstack([IMAGE, np.full(IMAGE.shape[:2], alpha, np.uint8)])).save(tmp_path / "a.png")
    assert np.array_equal(levels(build(tmp_path)[0]), IMAGE.transpose(2, 0, 1))
    assert ["transparent in places" in sentence for sentence in said()] == [True] * transparent


def test_the_given_stack(shared_data):
    folder = shared_data.parent / "cases" / "images"
    if not folder.is_dir():
        pytest.skip("the cases are not here")
    with tifffile.TiffFile(folder / "stack.tif") as file:
        pages = len(file.pages)
    assert len(build(folder, mode="gray")) == pages == 10
