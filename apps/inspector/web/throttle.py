"""How often one may guess a password or a PIN: counted for each account and peer, so that nobody locks others out."""

import threading
import time
from collections import defaultdict

from rsd_med.base.errors import DataError

TRIES, PAUSE_SECONDS = 5, 60.0
"""Wrong ones of one peer for one name, before a pause."""
TRIES_OF_PEER = 6 * TRIES
"""Wrong ones of one peer, whatever the names."""


class Throttle:
    """Counts tries that were not right.

    A try counts as wrong from its beginning, and is taken back if it was right: those that run at the same time are
    counted before any of them is judged.
    """

    def __init__(self) -> None:
        self._tries: dict[str, list[tuple[float, str]]] = defaultdict(list)  # by peer: when, and for which name
        self._lock = threading.Lock()

    def begin(self, name: str, peer: str) -> None:
        """Count a try.

        Raises
        ------
        DataError
            After too many: of this peer for this name, or of this peer at all.
        """
        now, name = time.monotonic(), name[:64]
        with self._lock:
            for known in list(self._tries):
                recent = [(when, what) for when, what in self._tries[known] if now - when < PAUSE_SECONDS]
                if recent:
                    self._tries[known] = recent
                else:
                    del self._tries[known]
            own = self._tries.get(peer, [])
            if len(own) >= TRIES_OF_PEER or sum(what == name for _, what in own) >= TRIES:
                raise DataError("Too many wrong ones from here; please wait a minute.")
            self._tries[peer].append((now, name))

    def forgive(self, name: str, peer: str) -> None:
        """Take back the tries of a peer for a name: the last was right."""
        with self._lock:
            self._tries[peer] = [(when, what) for when, what in self._tries[peer] if what != name[:64]]


def peer_of(address: str) -> str:
    """Return what counts as one peer: an IPv4 address, or the 64 bits of an IPv6 address that one household gets."""
    import ipaddress

    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)
