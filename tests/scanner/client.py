"""A client of the MRD streaming protocol that knows nothing of ours: numbers of its documentation, ismrmrd's bytes."""

import contextlib
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import ismrmrd


@dataclass
class Answer:
    """What a server sent until it closed the session, or the connection."""

    images: list[ismrmrd.Image] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    closed: bool = False

    @property
    def errors(self) -> list[str]:
        return [text for text in self.texts if text.startswith("error: ")]

    def series(self, number: int = 1) -> list[ismrmrd.Image]:
        return [image for image in self.images if image.image_series_index == number]


def config_file(name: str) -> bytes:
    return struct.pack("<H1024s", 1, name.encode())


def config_text(text: str) -> bytes:
    return _counted(2, text)


def header(xml: bytes) -> bytes:
    return struct.pack("<HI", 3, len(xml)) + xml


def remark(text: str) -> bytes:
    return _counted(5, text)


def line(acquisition: ismrmrd.Acquisition) -> bytes:
    return struct.pack("<H", 1008) + acquisition.to_bytes()


def waveform(channels: int, samples: int) -> bytes:
    head = ismrmrd.WaveformHeader()
    head.channels, head.number_of_samples = channels, samples
    return struct.pack("<H", 1026) + bytes(head) + bytes(4 * channels * samples)


CLOSE = struct.pack("<H", 4)


def _counted(number: int, text: str) -> bytes:
    return struct.pack("<HI", number, len(text.encode())) + text.encode()


def measurement(path: Path) -> list[bytes]:
    """The header and the lines of a file, as messages."""
    with ismrmrd.Dataset(str(path), "dataset", False) as dataset:
        lines = [line(dataset.read_acquisition(number)) for number in range(dataset.number_of_acquisitions())]
        return [header(dataset.read_xml_header()), *lines]


def ask(address: tuple[str, int], messages: Iterable[bytes], *, close: bool = True, seconds: float = 60.0) -> Answer:
    """Send messages, and read all that comes back."""
    with socket.create_connection(address, timeout=seconds) as connection:
        with contextlib.suppress(OSError):  # refused already: what it says can still be read
            connection.sendall(b"".join([*messages, CLOSE if close else b""]))
        return read_answer(connection)


def read_answer(connection: socket.socket) -> Answer:
    answer = Answer()
    with connection.makefile("rb") as stream:
        while len(number := stream.read(2)) == 2:
            match struct.unpack("<H", number)[0]:
                case 4:
                    answer.closed = True
                    return answer
                case 5:
                    answer.texts.append(stream.read(struct.unpack("<I", stream.read(4))[0]).decode())
                case 1022:
                    answer.images.append(ismrmrd.Image.deserialize_from(stream.read))
                case other:
                    raise AssertionError(f"message {other}")
    return answer
