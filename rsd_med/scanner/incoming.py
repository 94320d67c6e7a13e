"""What a client sends, read with a deadline and a limit for everything: nothing that it declares is believed."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from rsd_med.base.errors import DataError
from rsd_med.base.limits import MAX_COILS
from rsd_med.data.ismrmrd_acquisitions import MAX_SAMPLES
from rsd_med.data.ismrmrd_header import MAX_HEADER_BYTES
from rsd_med.data.ismrmrd_stream import ACQUISITION
from rsd_med.scanner.wire import CONFIG_NAME_BYTES, ID, LENGTH, WAVEFORM, MessageId

MAX_TEXT_BYTES = 64 * 1024
"""Longest configuration, and longest remark."""

_BLOCK = 1 << 20


class GoneError(Exception):
    """The client has gone: nobody is left to be told anything."""


@dataclass(frozen=True)
class Deadlines:
    """Seconds that a client may take.

    Attributes
    ----------
    start
        From one message to the next until the header has come.
    idle
        From one message to the next afterwards: breath holds, long repetition times.
    message
        For a message that has begun, and for taking one of ours.
    session
        For everything together.
    """

    start: float = 30.0
    idle: float = 300.0
    message: float = 60.0
    session: float = 3600.0


class Incoming:
    """Reads messages from a socket.

    Parameters
    ----------
    connection
        Connected; it is not closed here.
    deadlines
        For the client.
    """

    def __init__(self, connection: socket.socket, deadlines: Deadlines) -> None:
        self._connection = connection
        self._deadlines = deadlines
        self.ends = time.monotonic() + deadlines.session
        self.started = False

    def message_id(self) -> MessageId:
        """Wait for the next message, and return what it is.

        Raises
        ------
        GoneError
            If the client has closed the connection.
        DataError
            If it is silent for too long, or sends no message of the protocol.
        """
        wait = self._deadlines.idle if self.started else self._deadlines.start
        number = ID.unpack(self._read(ID.size, wait))[0]
        try:
            return MessageId(number)
        except ValueError:
            raise DataError(
                f"Message {number} was sent, which is none of the MRD streaming protocol that is read here: "
                f"{', '.join(str(int(known)) for known in MessageId)}."
            ) from None

    def config_name(self) -> str:
        """Read the rest of a message with the name of a configuration; DataError if it is no text."""
        return _text(self.exactly(CONFIG_NAME_BYTES).partition(b"\0")[0], "The name of the configuration")

    def text(self, what: str) -> str:
        """Read the rest of a message of text; DataError if it is too long, or none."""
        return _text(self.counted(what, MAX_TEXT_BYTES), what)

    def header(self) -> bytes:
        """Read the rest of a message with a measurement's header; DataError if it is too long."""
        return self.counted("The header", MAX_HEADER_BYTES)

    def counted(self, what: str, most: int) -> bytes:
        """Read a length and as many bytes; DataError if it is more than ``most``."""
        length = LENGTH.unpack(self.exactly(LENGTH.size))[0]
        if length > most:
            raise DataError(f"{what} has {length:,} bytes; at most {most:,} are read.")
        return self.exactly(length)

    def acquisition(
        self, sizes: Callable[[bytes], tuple[int, int]], room: Callable[[int], None]
    ) -> tuple[bytes, bytes, bytes]:
        """Read the rest of a message with an acquisition.

        Parameters
        ----------
        sizes
            From the fixed header to how many bytes of positions and of samples follow; raises if that is too much.
        room
            Is told the bytes before they are read; raises if there is no room for them.

        Returns
        -------
        tuple of bytes
            Header, positions, samples.
        """
        head = self.exactly(ACQUISITION.itemsize)
        positions, samples = sizes(head)
        room(len(head) + positions + samples)
        return head, self.exactly(positions), self.exactly(samples)

    def pass_waveform(self) -> None:
        """Read the rest of a message with a waveform, and forget it; DataError if it is larger than any is."""
        *_, samples, channels, _, _ = WAVEFORM.unpack(self.exactly(WAVEFORM.size))
        if samples > MAX_SAMPLES or channels > MAX_COILS:
            raise DataError(
                f"A waveform of {samples} samples and {channels} channels was sent; at most {MAX_SAMPLES} and "
                f"{MAX_COILS} are read."
            )
        self.exactly(4 * samples * channels)

    def exactly(self, size: int) -> bytes:
        """Read so many bytes of a message that has begun.

        Raises
        ------
        GoneError
            If the client closes the connection before.
        DataError
            If it takes too long.
        """
        return self._read(size, self._deadlines.message)

    def drain(self, seconds: float) -> None:
        """Read and forget what still comes, until the client closes: else it would never read our last message."""
        until = time.monotonic() + seconds
        try:
            while (left := until - time.monotonic()) > 0:
                self._connection.settimeout(left)
                if not self._connection.recv(_BLOCK):
                    return
        except OSError:
            return

    def _read(self, size: int, seconds: float) -> bytes:
        """Read so many bytes; memory grows with what comes, not with what was declared."""
        until = min(time.monotonic() + seconds, self.ends)
        parts, missing = [], size
        while missing:
            left = until - time.monotonic()
            if left <= 0:
                raise DataError(self._too_slow(seconds))
            self._connection.settimeout(left)
            try:
                part = self._connection.recv(min(missing, _BLOCK))
            except TimeoutError:
                raise DataError(self._too_slow(seconds)) from None
            except OSError as error:
                raise GoneError from error
            if not part:
                raise GoneError
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _too_slow(self, seconds: float) -> str:
        if time.monotonic() >= self.ends:
            return f"The connection was open for {self._deadlines.session:g} s, the most that one may take."
        return f"Nothing came for {seconds:g} s, or a message did not end within as long; send it again."


def _text(content: bytes, what: str) -> str:
    try:
        return content.rstrip(b"\0").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{what} is not UTF-8 text.") from None
