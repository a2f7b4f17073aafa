"""Who may hold a connection: so many in all, so many of one peer; and who gives way when it is full.

A connection that waits for its next request (or for the first, or for the rest of a head) gives way to a new one, the
one that has waited longest first; not so one whose bytes have come and were only not read yet. So idle sockets, however
many, keep nobody out: a new connection is turned away only while all the others are at work, which admission bounds.
"""

from __future__ import annotations

import resource
from collections import Counter
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Protocol

from service.metrics import Metrics
from service.settings import ConnectionSettings

ENDED = ("head", "idle", "send", "linger", "backstop", "gave_way", "turned_away", "descriptors")
"""Why a connection was ended from this side: the label of ``cpfd_connections_ended``."""
_OWN_DESCRIPTORS = 64
"""Files, sockets and pipes that the process holds besides connections, uploads and workers."""
_EACH_WORKER = 8


class Waiting(Protocol):
    """A connection that can be asked to go."""

    @property
    def place(self) -> Place: ...

    def has_unread(self) -> bool:
        """Whether something has come that was not read yet."""

    def give_way(self) -> None:
        """Ends at once, and leaves its place."""


class Place:
    """The right to be connected. ``leave`` gives it back, once."""

    __slots__ = ("_capacity", "_held", "peer")

    def __init__(self, capacity: Capacity, peer: str) -> None:
        self._capacity, self.peer, self._held = capacity, peer, True

    def leave(self) -> None:
        if self._held:
            self._held = False
            self._capacity._change(self.peer, -1)


class Capacity:
    """Gives places. Lives on the event loop: nothing here waits or locks.

    Args:
        settings: the bounds.
        max_total: what the limit of open files leaves of ``settings.max_total``.
        metrics: where it shows.
    """

    def __init__(self, settings: ConnectionSettings, max_total: int, metrics: Metrics) -> None:
        self.max_total = min(max_total, settings.max_total)
        self._max_per_peer = settings.max_per_peer or self.max_total
        self._metrics = metrics
        self._of_peer: Counter[str] = Counter()
        self._waiting: dict[Waiting, None] = {}
        self.total = 0
        for reason in ENDED:
            metrics.connections_ended.labels(reason)

    def take(self, peer: str) -> Place | None:
        """A place for a connection of ``peer``; None where nobody can give way."""
        if self._of_peer[peer] >= self._max_per_peer and not self._one_gives_way(peer):
            return None
        if self.total >= self.max_total and not self._one_gives_way():
            return None
        self._change(peer, 1)
        return Place(self, peer)

    def free_a_descriptor(self) -> bool:
        """Whether somebody gave way, so that the next descriptor is free within a turn of the loop."""
        return self._one_gives_way()

    def waits(self, connection: Waiting) -> None:
        """It waits for a request as of now, and may be asked to give way."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def works(self, connection: Waiting) -> None:
        """It serves a request, or is gone: nobody asks it to give way."""
        self._waiting.pop(connection, None)

    def ended(self, reason: str) -> None:
        """Counts a connection that this side ended."""
        self._metrics.connections_ended.labels(reason).inc()

    def _one_gives_way(self, peer: str | None = None) -> bool:
        of_peer = (c for c in self._waiting if peer is None or c.place.peer == peer)
        chosen = next((c for c in of_peer if not c.has_unread()), None)
        if chosen is None:
            return False
        del self._waiting[chosen]
        self.ended("gave_way")
        chosen.give_way()
        return True

    def _change(self, peer: str, by: int) -> None:
        self.total += by
        self._of_peer[peer] += by
        if not self._of_peer[peer]:
            del self._of_peer[peer]
        self._metrics.connections.set(self.total)


@lru_cache(maxsize=4096)
def peer_of(address: str | None) -> str:
    """Whom an address belongs to: itself; of IPv6 its /64 network, of which one host may have every address.

    What is no address, and a caller without one, is ``unknown``.
    """
    if address is None:
        return "unknown"
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, 64), strict=False))


def affordable_connections(wanted: int, spooled: int, workers: int) -> int:
    """How many connections the limit of open files allows, after it was raised as far as it may be.

    Args:
        wanted: connections.
        spooled: handles of files in the spool that may be open at the same time.
        workers: decode workers, the spare ones too.
    """
    own = _OWN_DESCRIPTORS + _EACH_WORKER * workers
    spooled = min(spooled, 2 * wanted)  # no request without a connection
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = own + wanted + spooled
    if resource.RLIM_INFINITY != soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    left = soft - own
    return max(16, left - min(spooled, left // 2))
