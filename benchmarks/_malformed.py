"""Malformed files of every kind the readers take: damaged real ones, and well-formed ones that lie."""

import gzip
import io
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmarks import _clumsy as clumsy

SUFFIXES = {
    "protocol": ".yaml",
    "hdf5": ".h5",
    "ismrmrd": ".h5",
    "nifti": ".nii",
    "dicom": ".dcm",
    "array": ".npy",
    "folder": "",
}
"""What the name of each kind ends with."""

PROTOCOL = """schema_version: 1
name: fuzz
data: {kind: knee_phantom, num_images: 8, size: 16, coils: 2}
calibration: {noise: none}
corruption: {kind: multicoil_fourier, acceleration: 2, acs_lines: 2, further_lines: 2}
backbone: {kind: monai_unet, channels: [8, 8], attention: [false, false]}
teacher:
  objective: {kind: ambient_fourier}
  images: 16
student:
  images: 8
"""
TEXTS = (
    *("null", "true", "0", "-1", "1e-4", "1e400", ".nan", "-.inf", "0x10", "0o7", "''", "~", "[]", "{}", "&", "*"),
    *("!", "|", ">", "%", "@", "`", "\t", "&a", "*a", "!!python/object:os.system", "!!binary", "<<:", "---", "..."),
    *(":", "-", "?", "{kind: {kind: x}}", "[[[[[[[[", "99999999999999999999", "2001-01-01", "\u202e", "\0", "\ud7ff"),
    *("*_T1w.nii.gz", "*", "*a b", '"C:\\data"', "a\uff1ab", "&.x", "%x", "|x", "[}", "1e30", "1e-30", "null"),
    *("é", "1_000", "../../etc/passwd", "${HOME}", "$X", "{a: b}", "kind:", "#", "[" * 3000, "{a: " * 200, "1e4" * 99),
)
NUMBERS = (0, 1, -1, 2**7, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**63 - 1, -(2**63))
HEADERS = (
    b"<ismrmrdHeader/>",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    b"<a>" * 2000,
    b"\xff\xfe<\0",
    b"",
    b"<?xml version='1.0' encoding='utf-16'?><a/>",
    b"<a xmlns='x'><encoding><encodedSpace><matrixSize><x>9e99</x></matrixSize></encodedSpace></encoding></a>",
)


def real_files(shared: Path | None, work: Path) -> dict[str, list[bytes]]:
    """Return small forms of the real files of each kind, by kind; synthetic ones where there are no shared data."""
    found: dict[str, list[bytes]] = {kind: [] for kind in SUFFIXES}
    found["protocol"] = [PROTOCOL.encode()]
    found["hdf5"] = [_kspace_file(work / "seed.h5", random.Random(0), plain=True)]
    found["nifti"] = [nifti()]
    found["array"] = [array()]
    found["folder"] = [b""]
    found["dicom"] = [clumsy.dicom_image(random.Random(0), np.eye(3), 0), clumsy.mosaic(random.Random(1))]
    if shared is None:
        return found
    for name in ("synth_multicoil_train_0", "synth_multicoil_test_masked", "real_phantom_2ch"):
        found["hdf5"].append(_smaller_hdf5(shared / "fastmri_format" / f"{name}.h5", work / "small.h5"))
    raw = shared / "mri_kspace_real" / "phantom_2ch_siemens_gre_ismrmrd.h5"
    found["ismrmrd"] = [_smaller_ismrmrd(raw, work / "small-raw.h5")]
    for name in ("orient_LPS", "complex64_volume", "pcasl_4d"):
        found["nifti"].append(_smaller_nifti(shared / "nifti_dicom" / f"{name}.nii.gz"))
    for name in ("mr_t1_series_1-001", "enhanced_mr_multiframe"):
        small = _smaller_dicom(shared / "nifti_dicom" / f"{name}.dcm")
        found["dicom"] += [] if small is None else [small, small[132:]]  # old exports have no preamble
    mosaic = Path(nibabel.__file__ or "").parent / "nicom" / "tests" / "data" / "siemens_dwi_0.dcm.gz"
    if mosaic.is_file() and found["dicom"]:
        (work / "mosaic.dcm").write_bytes(gzip.decompress(mosaic.read_bytes()))
        found["dicom"] += filter(None, [_smaller_dicom(work / "mosaic.dcm", side=14)])
    return found


def put(content: bytes | clumsy.Folder, path: Path) -> None:
    """Write a file, or a folder with all that is in it."""
    if isinstance(content, bytes):
        path.write_bytes(content)
        return
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    for name, inside in content.items():
        file = Path(os.fsdecode(os.path.join(os.fsencode(path), name)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(inside)


def malform(kind: str, seeds: list[bytes], draw: random.Random, work: Path, elsewhere: Path) -> bytes | clumsy.Folder:
    """Return one malformed file or folder (some are well formed after all).

    Parameters
    ----------
    kind
        One of ``SUFFIXES``.
    seeds
        Real files of the kind.
    draw
        Every choice is drawn from it.
    work
        A folder for files on their way.
    elsewhere
        A file that none of these may make a reader open.
    """
    if kind == "protocol":
        return _protocol(draw)
    if kind == "hdf5" and draw.random() < 0.4:
        return _kspace_file(work / "made.h5", draw, elsewhere=elsewhere)
    if kind == "folder":
        return clumsy.folder(draw, draw.choice(MUTATIONS))
    if kind == "array":
        return clumsy.array(draw)
    if kind == "nifti" and draw.random() < 0.3:
        return clumsy.contradictory_nifti(draw)
    if kind == "dicom" and draw.random() < 0.2:
        return clumsy.mosaic(draw)
    content = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        content = draw.choice(MUTATIONS)(content, draw)
    return bytes(content)


def _place(content: bytearray, draw: random.Random) -> int:
    """Draw a place, in the header as often as anywhere."""
    return draw.randrange(max(1, min(len(content), draw.choice((400, 4000, len(content) or 1)))))


def _flip(content: bytearray, draw: random.Random) -> bytearray:
    if content:
        content[_place(content, draw)] ^= 1 << draw.randrange(8)
    return content


def _overwrite(content: bytearray, draw: random.Random) -> bytearray:
    place, length = _place(content, draw), draw.choice((1, 2, 4, 8, 64))
    content[place : place + length] = draw.choice((b"\0", b"\xff", b"\x7f", draw.randbytes(1))) * length
    return content


def _number(content: bytearray, draw: random.Random) -> bytearray:
    size, place = draw.choice((2, 4, 8)), _place(content, draw)
    place -= place % 2
    value = draw.choice(NUMBERS) & (2 ** (8 * size) - 1)
    content[place : place + size] = value.to_bytes(size, draw.choice(("little", "big")))
    return content


def _real_number(content: bytearray, draw: random.Random) -> bytearray:
    place = _place(content, draw) & ~3
    value = draw.choice((float("nan"), float("inf"), -float("inf"), 1e38, 1e-40, -0.0, 0.0))
    content[place : place + 4] = struct.pack(draw.choice(("<f", ">f")), value)
    return content


def _cut(content: bytearray, draw: random.Random) -> bytearray:
    return content[: _place(content, draw)] if draw.random() < 0.5 else content[: draw.randrange(len(content) + 1)]


def _remove(content: bytearray, draw: random.Random) -> bytearray:
    place = _place(content, draw)
    del content[place : place + draw.choice((1, 4, 32, 512))]
    return content


def _insert(content: bytearray, draw: random.Random) -> bytearray:
    place = _place(content, draw)
    content[place:place] = draw.choice((draw.randbytes(draw.randrange(64)), bytes(content[place : place + 64])))
    return content


Mutation = Callable[[bytearray, random.Random], bytearray]
MUTATIONS: tuple[Mutation, ...] = (_flip, _flip, _overwrite, _number, _number, _real_number, _cut, _remove, _insert)


def _protocol(draw: random.Random) -> bytes:
    if draw.random() < 0.25:
        content = bytearray(PROTOCOL.encode())
        for _ in range(draw.randrange(1, 5)):
            content = draw.choice(MUTATIONS)(content, draw)
        return bytes(content)
    lines = PROTOCOL.splitlines()
    for _ in range(draw.randrange(1, 4)):
        number = draw.randrange(len(lines))
        line, text = lines[number], draw.choice(TEXTS)
        head, colon, value = line.partition(": ")
        lines[number] = draw.choice(
            (
                f"{head}{colon}{text}",
                f"{head}{colon}{value}{text}",
                line.replace(draw.choice(line.split() or [""]) or " ", text, 1),
                f"{text}: {value}",
                f"{text}{line}",
                "",
                f"{line}\n{line}",
                f"{line}\n  {text}: {text}",
                line.replace("kind: ", f"kind: {text}"),
            )
        )
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _kspace_file(path: Path, draw: random.Random, plain: bool = False, elsewhere: Path | None = None) -> bytes:
    """Write an HDF5 file whose parts are each right, wrong, or somewhere else."""
    import h5py

    def one(*choices: Any) -> Any:
        return choices[0] if plain or draw.random() < 0.6 else draw.choice(choices)

    slices, coils, rows, columns = one(2, 1, 3), one(2, 0, 1, 200), one(8, 1, 7, 0), one(8, 1, 9)
    shape = one((slices, coils, rows, columns), (slices, rows, columns), (rows, columns), (), (2, 2, 2, 2, 2))
    dtype = one("c8", "c16", ">c8", "f4", "i2", "u1", "b1", "f2", "S4", "O")
    options = one({}, {"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True, "fletcher32": True})
    with h5py.File(path, "w", libver=one(("earliest", "latest"), ("latest", "latest"))) as file:
        if dtype == "O":
            file.create_dataset("kspace", shape, dtype=h5py.vlen_dtype(np.float32))
        else:
            count = int(np.prod(shape))
            raw = np.frombuffer(draw.randbytes(16 * count), np.float32)
            values = raw[:count] if draw.random() < 0.2 else np.linspace(1, 2, count, dtype=np.float32)
            with np.errstate(all="ignore"):
                values = values.reshape(shape).astype(dtype)
            place = "kspace" if one(True, False) else "there"
            chunked = bool(options) and shape and 0 not in shape
            file.create_dataset(place, data=values, **(options if chunked else {}))
            if place != "kspace" and elsewhere is not None:
                _lead_elsewhere(file, draw, elsewhere)
        if one(False, True):
            file["mask"] = one(np.ones(columns), np.zeros(columns), np.ones((slices, columns)), np.ones(3), np.nan)
        if one(False, True):
            file["sensitivity_maps"] = one(
                np.ones((slices, coils, rows, columns), "c8"), np.ones((1, 1), "c8"), np.full((2, 2, 8, 8), np.nan + 0j)
            )
        if one(False, True):
            file["ismrmrd_header"] = one(*(np.bytes_(text) for text in HEADERS), np.arange(3), 5.0)
        if one(False, True):
            file.attrs["num_low_frequency"] = one(4, -1, 2**40, np.nan, "four", np.arange(3))
    return path.read_bytes()


def _lead_elsewhere(file: Any, draw: random.Random, elsewhere: Path) -> None:
    """Let ``kspace`` be found in another file, or nowhere."""
    import h5py

    way = draw.randrange(5)
    if way == 0:
        file["kspace"] = h5py.ExternalLink(str(elsewhere), "kspace")
    elif way == 1:
        file["kspace"] = h5py.SoftLink(draw.choice(("/there", "/kspace", "/nowhere")))
    elif way == 2:
        file.create_dataset("kspace", (1, 2, 8, 8), "c8", external=[(str(elsewhere), 0, 1024)])
    elif way == 3:
        layout = h5py.VirtualLayout((1, 2, 8, 8), "c8")
        layout[:] = h5py.VirtualSource(str(elsewhere), "kspace", (1, 2, 8, 8))
        file.create_virtual_dataset("kspace", layout)
    else:
        file.create_dataset("kspace", (16, 128, 4096, 2048), "c8", chunks=(1, 1, 64, 64))


def array() -> bytes:
    """Return a small good ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, np.arange(60, dtype=np.uint8).reshape(2, 6, 5))
    return buffer.getvalue()


def nifti() -> bytes:
    """Return a small good volume."""
    import nibabel

    image = nibabel.Nifti1Image(np.arange(4 * 5 * 3, dtype=np.int16).reshape(4, 5, 3), np.eye(4))
    return image.to_bytes()


def _smaller_nifti(path: Path) -> bytes:
    """Keep a real header, and the first voxels that fit a volume of 6 × 5 × 4."""
    import nibabel

    image = nibabel.load(path)
    whole = np.asanyarray(image.dataobj)
    cut = whole[tuple(slice(0, side) for side in (6, 5, 4, 2)[: whole.ndim])]
    return type(image)(cut, image.affine, image.header).to_bytes()


def _smaller_hdf5(path: Path, to: Path) -> bytes:
    """Keep everything of a real file but most of its rows."""
    import h5py

    with h5py.File(path) as real, h5py.File(to, "w") as small:
        for name, dataset in real.items():
            keep = (slice(0, 1), slice(0, 2), slice(0, 8)) if dataset.ndim == 4 else ()
            small[name] = dataset[keep] if keep else dataset[()]
        for name, value in real.attrs.items():
            small.attrs[name] = value
    return to.read_bytes()


def _smaller_ismrmrd(path: Path, to: Path) -> bytes:
    """Keep the header of a real file and its first acquisitions."""
    import h5py

    with h5py.File(path) as real, h5py.File(to, "w") as small:
        data = real["dataset/data"]
        small.create_dataset("dataset/data", data=data[:6], dtype=data.dtype)
        small.create_dataset("dataset/xml", data=real["dataset/xml"][()], dtype=real["dataset/xml"].dtype)
    return to.read_bytes()


def _smaller_dicom(path: Path, side: int = 8) -> bytes | None:
    """Keep the header of a real file and as many pixels as ``side`` × ``side`` take; None without pydicom."""
    try:
        import pydicom
    except ImportError:
        return None
    dataset = pydicom.dcmread(path)
    frames = int(dataset.get("NumberOfFrames", 1))
    dataset.Rows = dataset.Columns = side
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return path.read_bytes()
    pixels = bytes(dataset.PixelData)[: side * side * 2 * frames]
    dataset.PixelData = pixels if any(pixels) else np.arange(len(pixels), dtype=np.uint8).tobytes()  # some are blanked
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()
