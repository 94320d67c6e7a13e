"""Archives of images as EDM keeps its data sets, and archives that no honest tool writes."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from rsd_med.base.errors import DataError
from rsd_med.data import image_zip
from rsd_med.data.image_zip import ImageZipSettings


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def png(values):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path, entries, packing=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, contents in entries.items():
            archive.writestr(name, contents)
    return path


def build(path, **settings):
    return ImageZipSettings(root=str(path), **settings).build()


@pytest.fixture
def images():
    return pixels(12, 16, 16, 3)


@pytest.fixture
def archive(tmp_path, images):
    """Laid out as EDM's dataset_tool does it; entries are not in the order of their names."""
    entries = {f"{n // 10:05d}/img{n:08d}.png": png(images[n]) for n in reversed(range(12))}
    labels = [[name, 0] for name in entries]
    return pack(tmp_path / "ffhq.zip", entries | {"dataset.json": json.dumps({"labels": labels})})


def test_images_come_in_the_order_of_their_names(archive, images):
    source = build(archive)
    assert len(source) == 12
    assert source.id(11) == "00001/img00000011"
    for number in (0, 5, 11):
        picture = source[number]
        assert picture.id == source.id(number)
        assert picture.image.dtype == torch.float32
        assert picture.image.shape == source.shape(number) == (3, 16, 16)
        found = ((picture.image + 1) * 127.5).round().byte().numpy().transpose(1, 2, 0)
        assert np.array_equal(found, images[number])
    with pytest.raises(IndexError):
        source[12]
    with pytest.raises(IndexError):
        source.shape(12)


@pytest.mark.parametrize("labels", [b'{"labels": null}', b"not json", None])
def test_labels_are_neither_needed_nor_read(tmp_path, labels):
    entries = {"a.png": png(pixels(4, 4, 3))}
    assert len(build(pack(tmp_path / "a.zip", entries | ({} if labels is None else {"dataset.json": labels})))) == 1


def test_deflated_grey_resized_and_limited(archive, tmp_path, images):
    deflated = pack(tmp_path / "b.zip", {"a.png": png(images[0])}, zipfile.ZIP_DEFLATED)
    assert torch.equal(build(deflated)[0].image, build(archive)[0].image)
    source = build(archive, mode="gray", resize=8, limit=3)
    assert len(source) == 3
    assert source[2].image.shape == source.shape(2) == (1, 8, 8)


def test_a_source_goes_to_other_processes(archive, monkeypatch):
    source = build(archive)
    expected = source[3].image
    assert torch.equal(pickle.loads(pickle.dumps(source))[3].image, expected)
    opened = source._archive
    monkeypatch.setattr(image_zip.os, "getpid", lambda: -1)  # as after a fork
    assert torch.equal(source[3].image, expected)
    assert source._archive is not opened


def test_hidden_entries_and_folders_are_passed_over(tmp_path):
    entries = {
        "a/": b"",
        "a/1.png": png(pixels(4, 4, 3)),
        "__MACOSX/a/._1.png": b"x",
        "a/.2.png": b"x",
        "notes.txt": b"",
    }
    assert build(pack(tmp_path / "a.zip", entries)).names == ["a/1.png"]


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "a/../../b.png", "C:/a.png"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="leads out of the archive"):
        build(pack(tmp_path / "a.zip", {name: png(pixels(4, 4, 3))}))


def test_links_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        entry = zipfile.ZipInfo("a.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match=r"a\.png is a link"):
        build(tmp_path / "a.zip")


def test_encrypted_entries_are_refused(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.png": png(pixels(4, 4, 3))})
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\x01\x02")  # the entry of the directory
    raw[place + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.png is encrypted"):
        build(path)


def test_unusual_packings_are_refused(tmp_path):
    with pytest.raises(DataError, match="packed in an unusual way"):
        build(pack(tmp_path / "a.zip", {"a.png": png(pixels(4, 4, 3))}, zipfile.ZIP_BZIP2))


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    bomb = pack(tmp_path / "a.zip", {"a.png": bytes(2**20)}, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 2**12
    monkeypatch.setattr(image_zip, "MAX_BYTES", 2**19)
    with pytest.raises(DataError, match=r"a\.png declares 1,048,576 bytes"):
        build(bomb)
    # The same, with a directory that lies about the size.
    raw = bytearray(bomb.read_bytes())
    place = raw.index(b"PK\x01\x02")
    raw[place + 24 : place + 28] = struct.pack("<I", 100)
    bomb.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.png"):
        build(bomb)


def test_the_same_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", png(pixels(4, 4, 3)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.png", png(pixels(4, 4, 3, seed=1)))
    with pytest.raises(DataError, match="the same name"):
        build(tmp_path / "a.zip")


def test_images_of_another_size_are_refused(tmp_path):
    source = build(pack(tmp_path / "a.zip", {"a.png": png(pixels(4, 4, 3)), "b.png": png(pixels(4, 5, 3))}))
    with pytest.raises(DataError, match=r"b\.png is 4 x 5 pixels and the first image 4 x 4"):
        source[1]


def test_what_is_no_archive_or_holds_no_image_is_refused(tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    for path, sentence in (
        (tmp_path / "nowhere.zip", "does not exist"),
        (tmp_path / "text.zip", "no zip archive, or a damaged one"),
        (tmp_path, "no zip archive, or a damaged one"),
        (pack(tmp_path / "empty.zip", {"dataset.json": "{}"}), "holds no png, jpg, webp or tif"),
        (pack(tmp_path / "bad.zip", {"a.png": b"no image"}), r"a\.png in bad\.zip is no image"),
    ):
        with pytest.raises(DataError, match=sentence) as caught:
            build(path)
        assert "\n" not in str(caught.value)


def test_damage_is_told(archive):
    source = build(archive)
    raw = bytearray(archive.read_bytes())
    place = raw.index(b"IDAT", raw.index(b"img00000005.png"))
    raw[place + 20] ^= 0xFF
    archive.write_bytes(raw)
    with pytest.raises(DataError, match=r"img00000005\.png is damaged: copy the archive again"):
        build(archive)[5]
    assert source[4].image.shape == (3, 16, 16)
