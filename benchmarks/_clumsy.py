"""Well-formed files that contradict themselves, and folders as people have them."""

import io
import math
import random
import struct
from typing import Any

import numpy as np

Folder = dict[bytes, bytes]
"""What is in a folder, by its path below it; names need not be UTF-8."""

_MOSAIC = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
_LEVELS = (0.0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1.0)


def contradictory_nifti(draw: random.Random) -> bytes:
    """Return a volume whose header contradicts itself: units, qfac, spacings, forms, scaling, shape."""
    import nibabel

    shape = draw.choice(((6, 5, 4), (6, 5), (1, 5, 4), (6, 5, 4, 2), (6, 5, 1, 1), (6, 5, 4, 1, 3)))
    dtype = draw.choice((np.int16, np.uint8, np.float32, np.float64, np.complex64, np.uint16))
    values = (np.arange(math.prod(shape)).reshape(shape) * draw.choice((0, 1, 1, 1, 3))).astype(dtype)
    content = nibabel.Nifti1Image(values, np.eye(4)).to_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    header["srow_x"], header["srow_y"], header["srow_z"] = _affine(draw)[:3]
    header["xyzt_units"] = draw.choice((0, 1, 2, 3, 10, 255))
    header["pixdim"][0] = draw.choice((-1, 0, 1, 1, 7, np.nan))
    for axis in (1, 2, 3):
        if draw.random() < 0.3:
            header["pixdim"][axis] = draw.choice((-1, 0, 1e-3, 1e6, np.nan, np.inf, 1))
    header["qform_code"], header["sform_code"] = draw.choice((0, 1, 2, 9)), draw.choice((0, 1, 4, -3))
    if draw.random() < 0.3:
        header["scl_slope"], header["scl_inter"] = draw.choice((0, 1, -2, 1e38, np.nan)), draw.choice((0, 5, np.inf))
    if draw.random() < 0.3:
        header["quatern_b"], header["quatern_c"] = draw.choice((0, 0.5, 1, 3)), draw.choice((0, 0.5, 1, -3))
    return bytes(header.binaryblock + content[348:])


def _affine(draw: random.Random) -> np.ndarray:
    affine = np.diag([draw.choice((-2, 1, 1, 0.001, 0)) for _ in range(3)] + [1.0])
    affine[:3, 3] = [draw.choice((0, -100, 1e7)) for _ in range(3)]
    if draw.random() < 0.5:
        affine[:3, :3] = affine[:3, :3] @ _rotation(draw)
    if draw.random() < 0.2:
        affine[0, 1] = draw.choice((1, 0.3, np.nan))
    return affine


def _rotation(draw: random.Random) -> np.ndarray:
    seed = np.random.default_rng(draw.randrange(2**32)).standard_normal((3, 3))
    return np.asarray(np.linalg.qr(seed)[0])


def array(draw: random.Random) -> bytes:
    """Return an ``.npy`` file of images of any layout, order and type."""
    shape = draw.choice(
        ((4, 6, 5), (4, 6, 5, 1), (4, 1, 6, 5), (4, 6, 5, 3), (4, 2, 6, 5), (6, 5), (0, 6, 5), (4, 3, 3, 3))
    )
    dtype = draw.choice(("u1", "<f4", ">f4", "<f8", "<u2", "<c8", ">c16", "b1", "S3", "f2"))
    count = math.prod(shape)
    with np.errstate(all="ignore"):
        values = np.linspace(draw.choice((0, -1)), draw.choice((1, 255)), count).reshape(shape).astype(dtype)
    if values.dtype.kind in "fc" and count and draw.random() < 0.2:
        values.flat[draw.randrange(count)] = draw.choice((np.nan, np.inf, 1e30))
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(values) if draw.random() < 0.2 else values)
    content = bytearray(buffer.getvalue())
    if draw.random() < 0.3:
        del content[draw.randrange(len(content)) :]
    return bytes(content)


def dicom_image(draw: random.Random, turn: np.ndarray, step: int, **fields: Any) -> bytes:
    """Return slice ``step`` of a series whose axes are the columns of ``turn``, with jitter in every number."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    noise = np.random.default_rng(draw.randrange(2**32))
    jitter = draw.choice(_LEVELS)
    axes = turn + jitter * noise.standard_normal((3, 3))
    values = noise.integers(0, 4000, fields.pop("shape", (6, 5))).astype("<u2")
    meta: Any = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{step + 1}.{draw.randrange(10**6)}"
    file: Any = Dataset()
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    file.PatientName, file.SeriesInstanceUID, file.InstanceNumber = "DOE^JANE", "1.2.3", step + 1
    file.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    file.Rows, file.Columns = values.shape
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit = 15
    file.PixelSpacing = [_text(0.5 + jitter * noise.standard_normal()), _text(0.8)]
    file.SliceThickness = _text(3.0)
    file.ImageOrientationPatient = [_text(v) for v in (*axes[:, 0], *axes[:, 1])]
    file.ImagePositionPatient = [_text(v) for v in 3.0 * step * turn[:, 2] + jitter * noise.standard_normal(3)]
    for name, value in fields.items():
        setattr(file, name, value)
    file.PixelData = values.tobytes()
    if draw.random() < 0.1:
        name = draw.choice(
            ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "InstanceNumber", "Rows")
        )
        delattr(file, name)
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    return content[132:] if draw.random() < 0.05 else content  # as some archives store it: without preamble


def _text(value: float) -> str:
    return f"{value:.10g}"


def mosaic(draw: random.Random) -> bytes:
    """Return a Siemens mosaic whose private header may be missing, cut, or of another number of slices."""
    from pydicom import dcmread
    from pydicom.dataset import Dataset

    slices, side = draw.choice(((4, 2), (5, 3), (9, 3), (1, 1)))
    told = draw.choice((slices, slices, slices, 0, -1, 10**9, "many"))
    header = _private_header(told, [draw.choice((0, 0, 1, -1, 2, float("nan"))) for _ in range(3)])
    content = dicom_image(
        draw, _rotation(draw), 0, ImageType=_MOSAIC, Manufacturer="SIEMENS", shape=(6 * side, 5 * side)
    )
    file: Dataset = dcmread(io.BytesIO(content), force=True)
    if draw.random() < 0.8:
        if draw.random() < 0.3:
            header = header[: draw.randrange(len(header))]
        file.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", header)
    if draw.random() < 0.3:
        file.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", draw.choice((slices, 0, 60000)))
    buffer = io.BytesIO()
    file.save_as(buffer)
    return buffer.getvalue()


def _private_header(slices: object, normal: list[float]) -> bytes:
    entries = {"NumberOfImagesInMosaic": [str(slices)], "SliceNormalVector": [str(v) for v in normal]}
    text = b"SV10\4\3\2\1" + struct.pack("<2I", len(entries), 77)
    for name, values in entries.items():
        text += struct.pack("<64si4s3i", name.encode(), len(values), b"US", 0, len(values), 77)
        for value in values:
            word = value.encode() + b"\0"
            text += struct.pack("<4i", 0, len(word), 77, 0) + word + bytes(-len(word) % 4)
    return text


def folder(draw: random.Random, damage: Any) -> Folder:
    """Return a folder with a series, or volumes, among what else lies in people's folders."""
    turn, content = _rotation(draw), Folder()
    passes = draw.choice((1, 1, 2))
    for turnus in range(passes if draw.random() < 0.7 else 0):
        label = draw.choice(({}, {"EchoTime": f"{turnus + 1}0"}, {"AcquisitionNumber": turnus}, {"TriggerTime": "5"}))
        for step in range(draw.randrange(1, 6)):
            if draw.random() > 0.1:  # else missing
                content[b"series/IM%d_%03d" % (turnus, step)] = dicom_image(draw, turn, step, **label)
    for number in range(draw.choice((0, 0, 1, 2))):
        content[b"volume%d" % number + draw.choice((b".nii", b"", b".img"))] = contradictory_nifti(draw)
    if draw.random() < 0.2:
        content[b"mosaic.IMA"] = mosaic(draw)
    for name in draw.sample(sorted(_OTHERS), draw.randrange(4)):
        content[name] = _OTHERS[name]
    if content and draw.random() < 0.2:
        name = draw.choice(sorted(content))
        content[draw.choice((b"._", b"copy of ", b"M\xfcller ")) + name.rpartition(b"/")[2]] = content[name]
    if content and draw.random() < 0.3:
        name = draw.choice(sorted(content))
        content[name] = bytes(damage(bytearray(content[name]), draw))
    return content


_OTHERS: Folder = {
    b".DS_Store": b"\0\0\0\1Bud1",
    b"__MACOSX/series/._IM0_000": b"\0\5\26\7\0\2\0\0Mac OS X",
    b"._volume0.nii": b"\0\5\26\7\0\2\0\0Mac OS X",
    b"DICOMDIR": b"\0" * 128 + b"DICM",
    b"Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
    b"notes.txt": b"third scan is the good one",
    b"empty.dcm": b"",
    b"empty.nii.gz": b"",
    b"\xff\xfe.nii": b"\0" * 400,
    b"deep/a/b/c/d/e/readme": b"x",
}
