"""Connections that are slow on purpose, and too many of them: closed before they cost anything.

Uvicorn waits for a request, and for its body, for as long as a peer likes. A thousand requests that are never finished
then use up the files that a process may open, and nobody else is answered.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

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
    """Counts the connections of one server.

    Parameters
    ----------
    limits
        See `Limits`.
    proxies
        Peers that speak for many: only the common limit holds for them.

    Attributes
    ----------
    counts
        Open connections by peer.
    """

    def __init__(self, limits: Limits, proxies: frozenset[str] = frozenset()) -> None:
        self.limits = limits
        self._proxies = proxies
        self.counts: Counter[str] = Counter()

    def admit(self, peer: str) -> bool:
        """Count a connection; False when there are too many already, and then it is not counted."""
        crowded = self.counts[peer] >= self.limits.most_of_peer and peer not in self._proxies
        if crowded or self.counts.total() >= self.limits.most:
            return False
        self.counts[peer] += 1
        return True

    def leave(self, peer: str) -> None:
        """Count a connection no more."""
        self.counts[peer] -= 1
        if not self.counts[peer]:
            del self.counts[peer]

    def __call__(self, **given: Any) -> "GuardedConnection":
        """Make the protocol of a new connection, as uvicorn asks for it."""
        return GuardedConnection(self, **given)


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
        if not self._keeper.admit(peer):
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
            self._keeper.leave(self._peer)
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
        if self.conn.their_state is h11.IDLE:  # no request yet, or not all of its head
            return self.loop.time() - self._silent_since >= limits.header_seconds
        if self.conn.their_state is not h11.SEND_BODY or self.flow.read_paused:
            return False
        whole_period, self._body_of = self._body_of is self.cycle, self.cycle
        return whole_period and (self.cycle.response_complete or self._received < limits.least_bytes)
