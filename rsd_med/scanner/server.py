"""Accepts connections, a few at a time, and gives each a thread of its own; the others are told to come again."""

import itertools
import logging
import socket
import socketserver
from threading import BoundedSemaphore, Lock, Thread
from typing import Any

from rsd_med.scanner.incoming import Incoming
from rsd_med.scanner.session import Session, Shared
from rsd_med.scanner.wire import close_message, text_message

_log = logging.getLogger("rsd_med.scanner")

_REFUSING_AT_ONCE = 8
_REFUSAL_SECONDS = 2.0


class ScannerServer(socketserver.TCPServer):
    """The server.

    Parameters
    ----------
    address
        Host and port; port 0 takes a free one.
    shared
        What its connections have in common.
    connections
        How many there may be at once.
    """

    allow_reuse_address = True
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], shared: Shared, connections: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._shared = shared
        self._places = BoundedSemaphore(connections)
        self._refusals = BoundedSemaphore(_REFUSING_AT_ONCE)
        self._numbers = itertools.count(1)
        self._full = Lock()
        super().__init__(address, socketserver.BaseRequestHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, or refuse it."""
        request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        number = next(self._numbers)
        if self._places.acquire(blocking=False):
            if self._full.locked():
                self._full.release()
            self._start(self._serve, request, number, str(client_address[0]))
        elif self._refusals.acquire(blocking=False):
            if self._full.acquire(blocking=False):  # said once until there is a place again, however many come
                _log.warning("connection %d is refused: all places are taken; further ones are not named", number)
            self._start(self._refuse, request)
        else:
            self.shutdown_request(request)

    def _start(self, target: Any, *arguments: Any) -> None:
        Thread(target=target, args=arguments, daemon=True).start()

    def _serve(self, request: socket.socket, number: int, client: str) -> None:
        try:
            _log.info("connection %d from %s", number, client)
            Session(request, self._shared, lambda sentence: _log.info("connection %d: %s", number, sentence)).serve()
        finally:
            self.shutdown_request(request)
            self._places.release()

    def _refuse(self, request: socket.socket) -> None:
        try:
            request.settimeout(_REFUSAL_SECONDS)
            sentence = "error: All places of this server are taken; connect again later."
            request.sendall(text_message(sentence) + close_message())
            request.shutdown(socket.SHUT_WR)
            Incoming(request, self._shared.deadlines).drain(_REFUSAL_SECONDS)
        except OSError:
            pass
        finally:
            self.shutdown_request(request)
            self._refusals.release()
