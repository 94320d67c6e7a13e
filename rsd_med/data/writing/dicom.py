"""Volumes to DICOM: a series of secondary captures that say that they were computed and are not for diagnosis."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rsd_med import __version__
from rsd_med.base.errors import ProtocolError
from rsd_med.base.files import folder_written_aside
from rsd_med.data.orientation import displayed
from rsd_med.data.scan import Geometry
from rsd_med.data.windowing import grey_levels

WARNING = "COMPUTED - RESEARCH ONLY - NOT FOR DIAGNOSIS"
_BURNT_IN = (WARNING, "COMPUTED - NOT FOR DIAGNOSIS", "NOT FOR DIAGNOSIS", "RESEARCH")
_NOBODY = "RESEARCH"  # instead of a patient: archives refuse empty names
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def write_dicom(
    folder: Path,
    volume: Tensor | np.ndarray | Iterable[Tensor | np.ndarray],
    geometry: Geometry,
    window: tuple[float, float],
    description: str = "rsd_med",
) -> list[Path]:
    """Write a volume as one new series of DICOM secondary captures, ``0001.dcm`` and on.

    Each file is marked as derived and secondary, its content as RESEARCH, its conversion type as SYN, and warns in
    ImageComments, DerivationDescription and, where the picture is wide enough, in its pixels along the lower edge. All
    identifiers are new, the patient is nobody, there is no date. Pixels are 16 bits at the window, turned to the
    radiological convention where the orientation is known; RescaleSlope and -Intercept lead back to the values.
    Position and spacing are written where they are known, so that viewers can relate the series to others.

    Parameters
    ----------
    folder
        Where to; it must not exist yet or be empty, and appears when all files are written.
    volume
        ``(slice, y, x)``, or ``(y, x)``, or slices one after the other; real, or complex, of which the magnitude is
        written.
    geometry
        Its affine maps (y, x, slice) to millimetres, RAS+.
    window
        (black, white) in the units of the volume; values beyond are cut off.
    description
        SeriesDescription: how the images came about. Not a place for names.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ProtocolError
        If pydicom is not installed, or the folder exists and is not empty.
    ValueError
        If a slice is no image, or the window does not rise.
    OSError
        If the disk is full or the folder cannot be written; nothing half-written stays.
    """
    try:
        from pydicom.uid import generate_uid
    except ImportError as error:
        raise ProtocolError("To write DICOM, install pydicom: pip install 'rsd_med[dicom]'.") from error

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProtocolError(f"The folder {folder.name} exists and is not empty: name another for the DICOM series.")
    uids = {name: generate_uid(prefix=None) for name in ("StudyInstanceUID", "SeriesInstanceUID")}
    if geometry.affine is not None:
        uids["FrameOfReferenceUID"] = generate_uid(prefix=None)
    folder.parent.mkdir(parents=True, exist_ok=True)
    names = []
    with folder_written_aside(folder) as side:
        for number, image in enumerate(volume[None] if getattr(volume, "ndim", 3) == 2 else volume):  # type: ignore[index]
            levels = grey_levels(image, window, 16)
            if levels.ndim != 2 or 0 in levels.shape:
                raise ValueError(f"A slice of shape {levels.shape} is no image.")
            file = _capture(levels, _slice_geometry(geometry, number), number, window)
            file.SeriesDescription = description[:64]
            for name, uid in uids.items():
                setattr(file, name, uid)
            names.append(f"{number + 1:04d}.dcm")
            file.save_as(side / names[-1], enforce_file_format=True)
    return [folder / name for name in names]


def _slice_geometry(geometry: Geometry, number: int) -> Geometry:
    if geometry.affine is None:
        return geometry
    affine = np.array(geometry.affine, dtype=np.float64)
    affine[:3, 3] += number * affine[:3, 2]
    return Geometry(affine, geometry.spacing_mm)


def _capture(levels: np.ndarray, geometry: Geometry, number: int, window: tuple[float, float]) -> Any:
    """Return one secondary capture (PS3.3 A.8.1, extended by position and rescaling)."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    turned = displayed(levels, geometry)
    pixels = _with_warning(turned.image)
    low, high = window
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.SpecificCharacterSet = "ISO_IR 192"
    file.PatientName, file.PatientID, file.PatientBirthDate, file.PatientSex = _NOBODY, _NOBODY, "", ""
    file.PatientIdentityRemoved = "YES"
    file.DeidentificationMethod = "rsd_med writes no identifier of its input"
    file.StudyDate = file.StudyTime = file.AccessionNumber = file.ReferringPhysicianName = file.StudyID = ""
    file.Modality, file.ConversionType = "MR", "SYN"
    file.SeriesNumber, file.InstanceNumber = 1, number + 1
    file.Manufacturer, file.SoftwareVersions = "rsd_med", __version__
    file.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    file.ContentQualification = "RESEARCH"
    file.ImageComments = WARNING
    file.DerivationDescription = f"Computed by rsd_med {__version__}; {WARNING.lower()}"
    # PS3.3 C.7.6.1.1: annotation that identifies the patient. The warning in the pixels does not.
    file.BurnedInAnnotation = "NO"
    file.LossyImageCompression = "00"
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.Rows, file.Columns = pixels.shape
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    file.RescaleSlope, file.RescaleIntercept, file.RescaleType = _decimal((high - low) / 65535), _decimal(low), "US"
    file.WindowCenter, file.WindowWidth = _decimal((low + high) / 2), _decimal(high - low)
    file.PatientOrientation = ""
    _place(file, turned.geometry)
    file.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
    return file


def _place(file: Any, geometry: Geometry) -> None:
    """Write where the pixels lie, as far as it is known."""
    spacing = geometry.spacing_mm
    if geometry.affine is not None:
        affine = np.asarray(geometry.affine, dtype=np.float64)
        columns = affine[:3, :3] * _RAS_TO_LPS[:, None]
        lengths = np.linalg.norm(columns, axis=0)
        down, across = columns[:, 0] / lengths[0], columns[:, 1] / lengths[1]
        file.ImagePositionPatient = [_decimal(value) for value in affine[:3, 3] * _RAS_TO_LPS]
        file.ImageOrientationPatient = [_decimal(value) for value in (*across, *down)]
        file.SliceThickness = file.SpacingBetweenSlices = _decimal(lengths[2])
        file.PositionReferenceIndicator = ""
        spacing = (float(lengths[0]), float(lengths[1]))
    if spacing is not None:
        file.PixelSpacing = [_decimal(spacing[0]), _decimal(spacing[1])]


def _decimal(value: float) -> str:
    """Write a number as DICOM's decimal string, which has room for 16 characters."""
    text = f"{value:.10g}"
    return text if len(text) <= 16 else f"{value:.8g}"


def _with_warning(levels: np.ndarray) -> np.ndarray:
    """Draw the longest warning that fits along the lower edge, white on black; a small picture stays as it is."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default_imagefont()
    for text in _BURNT_IN:
        left, top, right, bottom = (int(side) for side in font.getbbox(text))
        width, height = right - left + 2, bottom - top + 2
        if width <= levels.shape[1] and height <= levels.shape[0] // 4:
            strip = Image.new("L", (width, height))
            ImageDraw.Draw(strip).text((1 - left, 1 - top), text, fill=255, font=font)
            drawn = levels.copy()
            drawn[-height:, :width] = (np.asarray(strip) > 127) * np.uint16(65535)
            return drawn
    return levels
