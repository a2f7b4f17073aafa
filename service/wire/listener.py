"""The listening sockets. Accepting is done here, not by the event loop, which drops without a word what finds no
descriptor: here it is logged, counted and answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from service.errors import StartError, TooManyConnections
from service.metrics import Metrics
from service.wire.capacity import Capacity, Place, peer_of
from service.wire.refusal import refusal

log = logging.getLogger(__name__)
_BACKLOG = 2048
_ACCEPTS_A_TURN = 64
_TURNS_TO_BEGIN = 4
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_DRAINED = 65_536
_SAY_EVERY_S = 5.0
_PAUSE_S = 0.05
"""How long nothing is accepted where not even the spare descriptor is left."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of ``host``, all on one port. ``::`` takes IPv4 as well.

    Raises:
        StartError: the address cannot be had.
    """
    bound: list[socket.socket] = []
    refused: OSError | None = None
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            try:
                bound.append(_bound(family, address, bound[0].getsockname()[1] if bound else port))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                refused = error  # a name may stand for an address that this machine lacks
        if not bound and refused is not None:
            raise refused
    except OSError as error:
        for made in bound:
            made.close()
        said = f"{host}:{port}: is it in use? ({error.strerror or error})"
        raise StartError(f"cannot listen on {said}") from error
    return bound


def _bound(family: int, address: tuple[Any, ...], port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        made.bind((address[0], port, *address[2:]))
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


class Listener:
    """Accepts on one socket, which it owns, for as long as it is open.

    Args:
        bound: it listens.
        make: the protocol of a connection that has a place.
        capacity: gives places.
        metrics: where refusals show.
    """

    def __init__(
        self, bound: socket.socket, make: Callable[[Place], asyncio.Protocol], capacity: Capacity, metrics: Metrics
    ) -> None:
        self._socket = bound
        self._make = make
        self._capacity = capacity
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY)
        self._said = -_SAY_EVERY_S
        self._starting: set[asyncio.Task[None]] = set()
        self._open = True
        self._loop.add_reader(bound.fileno(), self._accept)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._socket.getsockname()[:2]
        return host, port

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            if self._spare is not None:
                os.close(self._spare)

    async def wait_closed(self) -> None:
        """Returns when every connection that was accepted is under way."""
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                accepted, address = self._socket.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._without_descriptor(error)
                return  # nobody left to accept, or one that went away again
            accepted.setblocking(False)
            task = self._loop.create_task(self._start(accepted, peer_of(address[0])))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self, accepted: socket.socket, peer: str) -> None:
        place = self._capacity.take(peer)
        for _ in range(_TURNS_TO_BEGIN):  # those accepted in the same turn give way only once they are under way
            if place is None:
                await asyncio.sleep(0)
                place = self._capacity.take(peer)
        if place is None:
            self._capacity.ended("turned_away")
            self._turn_away(accepted, TooManyConnections("all connections are at work: come back", retry_after_s=1))
            return
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(lambda: self._make(place), accepted)
        except OSError:  # it went away meanwhile
            place.leave()
            accepted.close()

    def _turn_away(self, accepted: socket.socket, error: TooManyConnections) -> None:
        """Answers and closes at once: who has no place may not linger."""
        with accepted, contextlib.suppress(OSError):
            accepted.send(refusal(error, self._metrics, "connection"))
            accepted.shutdown(socket.SHUT_WR)
            accepted.recv(_DRAINED)  # a close over unread bytes is a reset, which may cost the caller the answer

    def _without_descriptor(self, error: OSError) -> None:
        """Somebody who waits gives way; else the spare descriptor serves to tell the caller to come back."""
        if time.monotonic() - self._said >= _SAY_EVERY_S:
            self._said = time.monotonic()
            log.error("out of descriptors (%s): raise the limit of open files", errno.errorcode.get(error.errno or 0))
        if self._capacity.free_a_descriptor():
            return
        self._capacity.ended("descriptors")
        if self._spare is None:
            self._pause()
            return
        os.close(self._spare)
        self._spare = None
        with contextlib.suppress(OSError):
            accepted, _ = self._socket.accept()
            accepted.setblocking(False)
            self._turn_away(accepted, TooManyConnections("the service is out of descriptors", retry_after_s=1))
        self._take_spare()

    def _pause(self) -> None:
        """Nothing can be accepted or answered: asking again at once would only burn the processor."""
        self._loop.remove_reader(self._socket.fileno())
        self._loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._open:
            self._take_spare()
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _take_spare(self) -> None:
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY)
