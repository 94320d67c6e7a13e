"""Small DICOM files of somebody, for the tests of the reader."""

import warnings

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

NAME = "DOE^JANE"
SERIES = generate_uid()


def pixels(seed=0, shape=(6, 5)):
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)


def image(values=None, position=(0.0, 0.0, 0.0), instance=1, syntax=ExplicitVRLittleEndian, **fields):
    """A small axial MR image of somebody."""
    values = pixels(instance) if values is None else values
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = Dataset()
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    file.PatientName, file.PatientID, file.PatientBirthDate = NAME, "4711", "19500101"
    file.SeriesInstanceUID, file.InstanceNumber, file.ImageType = SERIES, instance, ["ORIGINAL", "PRIMARY", "M"]
    file.add_new((0x0009, 0x0010), "LO", "DOE SYSTEMS")
    file.add_new((0x0009, 0x1001), "LO", NAME)
    file.Rows, file.Columns = values.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit = 15
    file.PixelSpacing, file.SliceThickness = [0.5, 0.8], 3.0
    file.ImageOrientationPatient, file.ImagePositionPatient = [1, 0, 0, 0, 1, 0], list(position)
    file.PixelData = values.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
    for name, value in fields.items():
        if value is None:
            delattr(file, name)
        else:
            setattr(file, name, value)
    return file


def save(path, file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.save_as(path, enforce_file_format=True)
    return path


def groups(**sequences):
    """A functional group item: ``PlanePosition={"ImagePositionPatient": ...}`` and so on."""
    item = Dataset()
    for name, fields in sequences.items():
        one = Dataset()
        for field, value in fields.items():
            setattr(one, field, value)
        setattr(item, f"{name}Sequence", Sequence([one]))
    return item


def enhanced(values, frames, undefined=False, **fields):
    """An enhanced multi-frame file: ``frames`` are the functional groups of each frame, axial and 1 mm by default."""
    file = image(values, SOPClassUID=EnhancedMRImageStorage, ImagePositionPatient=None, **fields)
    del file.ImageOrientationPatient, file.PixelSpacing, file.SliceThickness
    file.NumberOfFrames = len(frames)
    plane = {"PlaneOrientation": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}}
    measures = {"PixelMeasures": {"PixelSpacing": [1, 1], "SliceThickness": 1}}
    file.SharedFunctionalGroupsSequence = Sequence([groups(**plane, **measures)])
    file.PerFrameFunctionalGroupsSequence = Sequence([groups(**frame) for frame in frames])
    if undefined:  # as Philips writes it: no sequence can be skipped without reading what is in it
        leave_lengths_undefined(file)
    return file


def leave_lengths_undefined(dataset):
    dataset.is_undefined_length_sequence_item = True
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                leave_lengths_undefined(item)
