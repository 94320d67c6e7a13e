"""The messages of the MRD streaming protocol, as bytes.

Every message begins with its number, two bytes; all numbers are little-endian. Text is UTF-8 after its length in four
bytes; the name of a configuration has 1,024 bytes, filled up with zeros; an acquisition is its fixed header, its
positions and its samples; an image is its fixed header, the length of its attributes in eight bytes, these, and its
pixels.

Sources: https://github.com/ismrmrd/ismrmrd/blob/master/doc/mrd_messages.md and, for the order in which they come,
mrd_streaming_protocol.md in the same folder. The numbers from 1009 to 1021 that are missing here are deprecated there.
"""

import struct
from enum import IntEnum

import numpy as np


class MessageId(IntEnum):
    """What a message is."""

    CONFIG_FILE = 1
    CONFIG_TEXT = 2
    HEADER = 3
    CLOSE = 4
    TEXT = 5
    ACQUISITION = 1008
    IMAGE = 1022
    WAVEFORM = 1026


ID = struct.Struct("<H")
LENGTH = struct.Struct("<I")
ATTRIBUTE_LENGTH = struct.Struct("<Q")
CONFIG_NAME_BYTES = 1024
WAVEFORM = struct.Struct("<H6xQIIIHHfH2x")
"""Version, flags, measurement, counter, time stamp, samples, channels, microseconds, number; 40 bytes."""

FLOAT, SHORT = 5, 2
"""Types of pixels: float32 and int16."""
MAGNITUDE = 1
"""The type of an image."""

IMAGE = np.dtype(
    [
        ("version", "<u2"),
        ("data_type", "<u2"),
        ("flags", "<u8"),
        ("measurement_uid", "<u4"),
        ("matrix_size", "<u2", (3,)),
        ("field_of_view", "<f4", (3,)),
        ("channels", "<u2"),
        ("position", "<f4", (3,)),
        ("read_dir", "<f4", (3,)),
        ("phase_dir", "<f4", (3,)),
        ("slice_dir", "<f4", (3,)),
        ("patient_table_position", "<f4", (3,)),
        ("average", "<u2"),
        ("slice", "<u2"),
        ("contrast", "<u2"),
        ("phase", "<u2"),
        ("repetition", "<u2"),
        ("set", "<u2"),
        ("acquisition_time_stamp", "<u4"),
        ("physiology_time_stamp", "<u4", (3,)),
        ("image_type", "<u2"),
        ("image_index", "<u2"),
        ("image_series_index", "<u2"),
        ("user_int", "<i4", (8,)),
        ("user_float", "<f4", (8,)),
        ("attribute_string_len", "<u4"),
    ]
)
"""The fixed header of an image, 198 bytes (mrd_image_data.md in the same folder)."""


def text_message(text: str) -> bytes:
    """Return a message for a person or a log."""
    encoded = text.encode("utf-8", "replace")
    return ID.pack(MessageId.TEXT) + LENGTH.pack(len(encoded)) + encoded


def close_message() -> bytes:
    """Return the message that ends a session."""
    return ID.pack(MessageId.CLOSE)


def image_message(header: np.ndarray, attributes: str, pixels: np.ndarray) -> bytes:
    """Return an image as a message.

    Parameters
    ----------
    header
        One :data:`IMAGE`; the length of the attributes is set here.
    attributes
        XML.
    pixels
        (phase encoding, readout): the readout varies fastest on the wire.
    """
    encoded = attributes.encode()
    header = header.copy()
    header["attribute_string_len"] = len(encoded)
    parts = (header.tobytes(), ATTRIBUTE_LENGTH.pack(len(encoded)), encoded, np.ascontiguousarray(pixels).tobytes())
    return ID.pack(MessageId.IMAGE) + b"".join(parts)
