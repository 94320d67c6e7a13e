"""Is a server there? Light: a container asks every half minute."""

import socket
from contextlib import suppress

from rsd_med.scanner.wire import ID, MessageId, close_message


def answers(host: str, port: int, seconds: float = 5.0) -> bool:
    """Whether a server of this protocol is there: it ends a session that only says that all is sent, or has no place.

    Parameters
    ----------
    host, port
        Where it should be.
    seconds
        To wait.
    """
    with suppress(OSError), socket.create_connection((host, port), timeout=seconds) as connection:
        connection.sendall(close_message())
        return connection.recv(ID.size) in (close_message(), ID.pack(MessageId.TEXT))
    return False
