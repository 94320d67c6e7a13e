"""Connections that are slow on purpose, and too many of them: closed before they cost anything.

Uvicorn waits for a request, and for its body, for as long as a peer likes. A thousand requests that are never finished
then use up the files that a process may open, and nobody else is answered.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .throttle import peer_of

RESERVE = 256
"""Open files that are not for connections: the program's own, and what is accepted before it can be counted."""
BACKLOG = 128
"""Connections that are accepted at one go; must stay below RESERVE."""


@dataclass(frozen=True)
class Limits:
    """What a connection may cost.

    Attributes
    ----------
    most, most_of_peer
        Open connections, and those of one address.
    header_seconds
        How long a request's head may take.
    period
        Seconds between two looks at a connection.
    least_bytes
        Of a body, in one period. An answer must be fetched at about the same pace.
    """

    most: int = 1024
    most_of_peer: int = 256
    header_seconds: float = 15.0
    period: float = 10.0
    least_bytes: int = 40_960


def limits_here(wanted: int = 4096) -> Limits:
    """Raise the number of files that this process may open, as far as the system lets it, and return what fits."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    places = max(64, most - RESERVE)
    return Limits(most=places, most_of_peer=places // 4)


class Doorkeeper:
    """Knows the connections of one server, and makes room for a new one by closing one that asks for nothing.

    Parameters
    ----------
    limits
        See `Limits`.
    proxies
        Peers that speak for many: only the common limit holds for them.

    Attributes
    ----------
    of_peer
        Open connections by peer, the oldest first.
    """

    def __init__(self, limits: Limits, proxies: frozenset[str] = frozenset()) -> None:
        self.limits = limits
        self._proxies = proxies
        self.of_peer: dict[str, dict[Guest, None]] = {}

    def admit(self, guest: "Guest", peer: str) -> bool:
        """Count a connection; False when there is no room, and then it is not counted.

        Where the peer, or the server, has too many, the oldest that has not asked for anything yet is closed: of this
        peer, or of the one with the most.
        """
        crowd = None
        if peer not in self._proxies and len(self.of_peer.get(peer, ())) >= self.limits.most_of_peer:
            crowd = peer
        elif sum(map(len, self.of_peer.values())) >= self.limits.most:
            crowd = max(self.of_peer, key=lambda other: len(self.of_peer[other]))
        if crowd is not None:
            idle = next((other for other in self.of_peer[crowd] if other.asks_nothing()), None)
            if idle is None:
                return False
            self.leave(idle, crowd)
            idle.close()
        self.of_peer.setdefault(peer, {})[guest] = None
        return True

    def leave(self, guest: "Guest", peer: str) -> None:
        """Count a connection no more."""
        own = self.of_peer.get(peer, {})
        own.pop(guest, None)
        if not own:
            self.of_peer.pop(peer, None)

    def __call__(self, **given: Any) -> "GuardedConnection":
        """Make the protocol of a new connection, as uvicorn asks for it."""
        return GuardedConnection(self, **given)


class Guest(Protocol):
    """What a doorkeeper must know of a connection."""

    def asks_nothing(self) -> bool:
        """Whether no request of it is being answered or has come whole."""

    def close(self) -> None:
        """End it at once."""


class GuardedConnection(H11Protocol):
    """An HTTP connection with deadlines."""

    def __init__(self, keeper: Doorkeeper, **given: Any) -> None:
        super().__init__(**given)
        self._keeper = keeper
        self._peer: str | None = None
        self._look: asyncio.TimerHandle | None = None
        self._silent_since = 0.0
        self._received = 0
        self._body_of: object = None
        self._drained = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let a connection in, or close it at once."""
        super().connection_made(transport)
        peer = peer_of(self.client[0]) if self.client else ""
        if not self._keeper.admit(self, peer):
            transport.abort()
            return
        self._peer = peer
        self._silent_since = self.loop.time()
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no more."""
        if self._look is not None:
            self._look.cancel()
        if self._peer is not None:
            self._keeper.leave(self, self._peer)
            self._peer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes."""
        self._received += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._silent_since = self.loop.time()
        super().on_response_complete()

    def resume_writing(self) -> None:
        """Note that the peer fetches what is sent."""
        self._drained = True
        super().resume_writing()

    def asks_nothing(self) -> bool:
        """Whether no request is being answered or has come whole."""
        return self.conn.their_state is h11.IDLE

    def close(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def _look_later(self) -> None:
        limits = self._keeper.limits
        self._look = self.loop.call_later(min(limits.period, limits.header_seconds), self._check)

    def _check(self) -> None:
        """Close the connection if its peer keeps it waiting."""
        if self._keeps_waiting():
            self.transport.abort()
            return
        self._received = 0
        self._drained = not (self.flow.write_paused or self.transport.is_closing())
        self._look_later()

    def _keeps_waiting(self) -> bool:
        limits = self._keeper.limits
        if self.flow.write_paused or self.transport.is_closing():  # what was sent is not fetched
            return not self._drained
        if self.asks_nothing():
            return self.loop.time() - self._silent_since >= limits.header_seconds
        if self.conn.their_state is not h11.SEND_BODY or self.flow.read_paused:
            return False
        whole_period, self._body_of = self._body_of is self.cycle, self.cycle
        return whole_period and (self.cycle.response_complete or self._received < limits.least_bytes)
