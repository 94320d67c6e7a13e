"""One connection: a configuration, a header, lines, the word that all is sent; then images, or one sentence.

Of what a client sends nothing is written anywhere: not its header, in which the patient is named, not its remarks.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from rsd_med.base.command import explain
from rsd_med.base.errors import DataError, ProtocolError, RsdMedError
from rsd_med.base.notices import telling_notices
from rsd_med.data.ismrmrd_header import parse_header
from rsd_med.data.ismrmrd_stream import OVERHEAD_BYTES, ReceivedLines, ReceivedScan
from rsd_med.inverse.scans import Undersampling
from rsd_med.inverse.volume import reconstruct_slice
from rsd_med.reconstruction import PriorRun, Reconstructor
from rsd_med.scanner.configuration import Configurations, ScannerSettings, changed, parameters
from rsd_med.scanner.images import SliceResult, image_messages, slice_result
from rsd_med.scanner.incoming import Deadlines, GoneError, Incoming
from rsd_med.scanner.wire import MessageId, close_message, text_message

NAME = "scan"
"""What a measurement is called: its ids are those of a file ``scan.h5``, and its random draws with them."""

_LAST_WORDS_SECONDS = 10.0


@dataclass(frozen=True)
class Shared:
    """What all connections of a server have in common.

    Attributes
    ----------
    configurations
        What clients may name.
    run
        Where priors come from; None for none.
    device
        Where methods compute.
    deadlines
        For clients.
    bytes_each
        Most raw data that one connection may hold.
    computing
        Held while one of them computes: one after the other.
    """

    configurations: Configurations
    run: PriorRun | None
    device: str
    deadlines: Deadlines
    bytes_each: int
    computing: Lock


class Session:
    """Serves one connection.

    Parameters
    ----------
    connection
        Connected; it is closed by whoever opened it.
    shared
        The server's.
    log
        Is given one sentence at a time; none holds anything of the measurement but its size.
    """

    def __init__(self, connection: socket.socket, shared: Shared, log: Callable[[str], None]) -> None:
        self._connection = connection
        self._shared = shared
        self._log = log
        self._incoming = Incoming(connection, shared.deadlines)
        self._settings: ScannerSettings | None = None
        self._chosen: Reconstructor | None = None
        self._lines: ReceivedLines | None = None
        self._room = shared.bytes_each

    def serve(self) -> None:
        """Serve the client until it, or an error, ends the session; nothing is raised."""
        try:
            try:
                with telling_notices(self._tell):
                    self._receive()
                    if self._lines is not None and len(self._lines):
                        self._reconstruct(self._lines)
            except GoneError:
                raise
            except Exception as error:
                sentence, _ = explain(error)
                known = isinstance(error, RsdMedError)
                # A library's own words might quote what was sent.
                self._log(f"error: {sentence}" if known else f"error: {type(error).__name__}")
                self._tell(f"error: {sentence}")
            self._send(close_message())
            self._connection.shutdown(socket.SHUT_WR)
            self._incoming.drain(_LAST_WORDS_SECONDS)
        except (GoneError, OSError):
            self._log("the client has gone")

    def _receive(self) -> None:
        """Take messages until the client says that all is sent."""
        while True:
            kind = self._incoming.message_id()
            if kind is MessageId.CLOSE:
                return
            if kind is MessageId.ACQUISITION:
                self._line()
            elif kind is MessageId.CONFIG_FILE:
                self._configure(self._shared.configurations.named(self._incoming.config_name()))
            elif kind is MessageId.CONFIG_TEXT:
                self._configure(self._shared.configurations.written(self._incoming.text("The configuration")))
            elif kind is MessageId.HEADER:
                self._begin(self._incoming.header())
            elif kind is MessageId.TEXT:
                self._remark(self._incoming.text("The remark"))
            elif kind is MessageId.WAVEFORM:
                self._incoming.pass_waveform()
            else:
                raise DataError("An image was sent, and this server makes images of raw lines; send acquisitions.")

    def _configure(self, settings: ScannerSettings) -> None:
        if self._settings is not None:
            raise ProtocolError("A second configuration was sent; send one, before the header.")
        self._settings = settings

    def _begin(self, header: bytes) -> None:
        if self._lines is not None:
            raise DataError("A second header was sent; send one measurement in each connection.")
        self._lines = ReceivedLines(NAME, parse_header(header, NAME))
        self._incoming.started = True

    def _remark(self, text: str) -> None:
        """Take choices that come as a remark before the first line; other remarks are for people, and passed over."""
        chosen = parameters(text)
        if chosen is None:
            return
        if self._chosen is not None:
            raise ProtocolError("Parameters were sent after the first line; send them before it.")
        name = str(chosen.pop("customconfig", "") or chosen.pop("config", ""))
        chosen.pop("config", None)
        if name:
            self._settings = self._shared.configurations.named(name)
        self._settings = changed(self._or_default(), chosen, "The parameters")

    def _or_default(self) -> ScannerSettings:
        return self._shared.configurations.named("") if self._settings is None else self._settings

    def _make_ready(self) -> Reconstructor:
        """Make the method ready when the first line comes: what is wrong with it is said before the scan is over."""
        if self._chosen is None:
            self._chosen = Reconstructor(self._or_default().choices(), self._shared.run)
            for note in self._chosen.notes:
                self._tell(note)
        return self._chosen

    def _line(self) -> None:
        if self._lines is None:
            raise DataError("An acquisition was sent before the header; send the header first.")
        self._make_ready()
        self._lines.add(*self._incoming.acquisition(self._lines.sizes, self._take))

    def _take(self, size: int) -> None:
        self._room -= size + OVERHEAD_BYTES
        if self._room < 0:
            raise DataError(
                f"More than {self._shared.bytes_each >> 20:,} MiB of raw data were sent, the most that one connection "
                "may hold; start the server with more --memory, or fewer --connections."
            )

    def _reconstruct(self, lines: ReceivedLines) -> None:
        chosen, settings = self._make_ready(), self._or_default()
        source = lines.source()
        self._log(f"{len(lines)} lines, {len(source)} slices, {chosen.method}")
        if self._shared.computing.locked():
            self._tell("another measurement is being reconstructed; this one waits for it")
        began, sent = time.monotonic(), 0
        if not self._shared.computing.acquire(timeout=max(0.0, self._incoming.ends - time.monotonic())):
            raise self._too_late()
        try:
            for stack in source.stacks():
                results = [self._slice(source, item, chosen) for item in stack]
                for message in image_messages(
                    results, settings.images, chosen.method, whole_numbers=settings.pixels == "int16"
                ):
                    self._send(message)
                    sent += 1
        finally:
            self._shared.computing.release()
        self._log(f"{sent} images in {time.monotonic() - began:.1f} s")

    def _slice(self, source: ReceivedScan, item: int, chosen: Reconstructor) -> SliceResult:
        prepared, reconstruction = reconstruct_slice(
            source,
            item,
            lambda scan: chosen.prepare(scan, Undersampling()),
            chosen.solver,
            chosen.choices.seed,
            self._in_time,
            self._shared.device,
        )
        result = slice_result(
            item + 1,
            source.head(item),
            source.header(item),
            prepared,
            reconstruction,
            chosen.settings,
        )
        self._tell(f"slice {item + 1} of {len(source)}: the image {result.comment}")
        return result

    def _in_time(self, share: float) -> None:
        """End a reconstruction that takes longer than a connection may."""
        del share
        if time.monotonic() > self._incoming.ends:
            raise self._too_late()

    def _too_late(self) -> DataError:
        return DataError(
            f"The reconstruction did not end within the {self._shared.deadlines.session:g} s of a connection; choose a "
            "faster method, or start the server with more --minutes."
        )

    def _tell(self, sentence: str) -> None:
        self._send(text_message(sentence))

    def _send(self, message: bytes) -> None:
        """Send a message; GoneError where nobody takes it in time."""
        self._connection.settimeout(self._shared.deadlines.message)
        try:
            self._connection.sendall(message)
        except OSError as error:
            raise GoneError from error
