"""One connection's life, and its only owner. Every state has an end in time, every kind of byte one in number.

    HEAD     a head is awaited            head_seconds          408; a silent close where nothing came at all
    IDLE     kept, nothing of a request   keep_alive_seconds    closed
    WORK     the app reads and answers    backstop_seconds      cut: bodies and work have nearer ends of their own
    LINGER   answered for the last time,  linger_seconds,       cut
             the caller still sends       linger_bytes
    CLOSING  the last bytes are leaving   send_seconds          cut

A head is bounded by ``max_head_bytes`` and ``max_headers``. Of a body, what is not content (chunk sizes, extensions,
trailers) may be a sixteenth of the content around it, and ``_FRAMING_BYTES`` more: so neither goes on without end, nor
do chunks so small that parsing them would take the loop from the others. Slices are weighed, ``_SLICE`` bytes each: the
one with the end of the head is free, and so is the one in which the body ends.

The parser is llhttp (httptools). One request is served at a time. What a client sends before it has its answer is not
read: the answer is its own, and the last on this connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import httptools
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from service.errors import BadRequest, HeadStalled, ServiceError
from service.metrics import Metrics
from service.settings import ConnectionSettings
from service.wire.capacity import Capacity, Place
from service.wire.exchange import Exchange
from service.wire.head import Head
from service.wire.kernel import has_unread_bytes, was_reset
from service.wire.refusal import refusal

log = logging.getLogger(__name__)
_NO_HTTP = "this is not HTTP as the service reads it: send long texts in a form"
_NO_CONTENT = "too much of the body is chunk sizes or trailers: send chunks of 128 bytes or more, and no trailers"
_FRAMING_BYTES, _FRAMING_SHARE = 8 * 1024, 1 / 16
"""Of what is not content; the share is of the content, and none is saved up. A chunk costs the loop a quarter of a
microsecond and five bytes or more of framing, however little it holds."""
_DISCARD_PAUSE_S = 0.05
"""Between two reads of what nobody will look at: a caller who pours on costs the others no more than this."""
_SLICE = 16_384
"""Bytes that are parsed before they are held against the bounds: sixteen times as many may come at once."""
_PROBE_S = (0.01, 0.25)
"""How long an answer is awaited in peace after its caller closed its own side; how long at the most between two looks
at whether he is still there. The first looks come fast: what is done for who has left is taken from the others."""


class State(StrEnum):
    HEAD = "head"
    IDLE = "idle"
    WORK = "backstop"
    LINGER = "linger"
    CLOSING = "send"


@dataclass(frozen=True)
class Common:
    """What the connections of one server share.

    Attributes:
        app: serves their requests.
        settings: their bounds.
        keep_alive_seconds: from settings too.
        backstop_seconds: longer than any request may take.
        capacity: gives and takes back their places.
        metrics: where their ends and refusals show.
        draining: whether each answer is a connection's last.
        server: uvicorn's view of the connections and tasks there are.
        state: of the lifespan.
    """

    app: ASGIApp
    settings: ConnectionSettings
    keep_alive_seconds: float
    backstop_seconds: float
    capacity: Capacity
    metrics: Metrics
    draining: Callable[[], bool]
    server: ServerState
    state: dict[str, Any]

    def seconds(self, state: State) -> float:
        """How long a connection may be in a state."""
        own = self.settings
        return {
            State.HEAD: own.head_seconds,
            State.IDLE: float(self.keep_alive_seconds),
            State.WORK: self.backstop_seconds,
            State.LINGER: own.linger_seconds,
            State.CLOSING: own.send_seconds,
        }[state]


class _Stop(Exception):
    """Out of the parser, which hides the exceptions of its callbacks: the rest of what it was given is not read."""


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        common: what it shares with the others.
        place: given back when it ends.
    """

    def __init__(self, common: Common, place: Place) -> None:
        self.place = place
        self._common = common
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self._state = State.HEAD
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._last = self._deaf = self._half_closed = False
        self._discarded = 0
        self._await_request()

    def _await_request(self) -> None:
        """Forgets the request before: nothing of one may reach the next."""
        self._exchange: Exchange | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._head = Head(self._common.settings)
        self._received = self._content = 0
        self._framing = 0.0

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._common.server.connections.add(self)  # type: ignore[arg-type]  # uvicorn lists its own protocols only
        self._enter(State.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        self._common.server.connections.discard(self)
        self._common.capacity.works(self)
        self.place.leave()
        self._writable.set()
        if self._exchange is not None:
            self._exchange.disconnect()

    def data_received(self, data: bytes) -> None:
        if self._state is State.LINGER:
            self._discard(len(data))
            return
        for start in range(0, len(data), _SLICE):
            self._hear(data[start : start + _SLICE])

    def _hear(self, data: bytes) -> None:
        if self._deaf or self._state in (State.LINGER, State.CLOSING):
            return
        if self._exchange is not None and self._exchange.body_ended:
            self._hear_no_more()
            return
        if self._state is State.IDLE:
            data = data.lstrip(b"\r\n")  # some clients end a body with a line of its own
            if not data:
                return
            self._enter(State.HEAD)
        self._received += len(data)
        self._content, in_body = 0, self._exchange is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._last = True  # nothing is upgraded: the answer is HTTP/1.1, and the parser reads no further
        except httptools.HttpParserError as error:
            told = error.__context__
            self._misread(told if isinstance(told, ServiceError) else BadRequest(_NO_HTTP))
        else:
            self._weigh(len(data) if in_body else 0)

    def eof_received(self) -> bool:
        """Keeps the connection where the whole request has come and its answer has not yet left."""
        if self._state is not State.WORK or self._exchange is None or not self._exchange.body_ended:
            return False
        self._half_closed = self._last = True
        if self._exchange.is_modern:
            self._loop.call_later(_PROBE_S[0], self._ask_whether_there, self._exchange)
        return True

    def pause_writing(self) -> None:
        self._writable.clear()
        self._send_timer = self._loop.call_later(self._common.settings.send_seconds, self._cut, State.CLOSING)

    def resume_writing(self) -> None:
        self._writable.set()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    # What the parser tells. An exception ends the parsing of what it was given.

    def on_message_begin(self) -> None:
        if self._exchange is not None:  # pipelined in the packet that ended the request before it
            raise _Stop

    def on_url(self, url: bytes) -> None:
        self._head.add_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._exchange is None:  # else it is a trailer
            self._head.add(name, value)

    def on_headers_complete(self) -> None:
        self._head.check(0, self._parser.should_upgrade())
        scope = self._head.scope(self._parser, self._transport, self._common.state)
        modern = scope["http_version"] != "1.0"
        self._exchange = Exchange(
            self,
            scope,
            self._common.server.default_headers,
            keep=modern and self._parser.should_keep_alive(),
            expects=modern and self._head.expects_continue,
        )
        self._enter(State.WORK)
        task = self._loop.create_task(self._exchange.run(self._common.app))
        self._common.server.tasks.add(task)
        task.add_done_callback(self._common.server.tasks.discard)

    def on_body(self, body: bytes) -> None:
        self._content += len(body)
        if self._exchange is not None and not self._exchange.feed(body):
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._exchange is not None:
            self._exchange.end_body()

    # What the exchange asks.

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def want_more(self) -> None:
        if not self._deaf and not self._half_closed and not self._transport.is_closing():
            self._transport.resume_reading()

    def must_close(self) -> bool:
        owed = self._exchange is None or not self._exchange.body_ended
        return self._last or self._deaf or owed or self._common.draining()

    async def drained(self) -> None:
        await self._writable.wait()

    def answered(self, *, close: bool) -> None:
        self._common.server.total_requests += 1
        owed = self._exchange is None or not self._exchange.body_ended
        if self._transport.is_closing():
            return
        if not (close or self._deaf or self._last):
            self._await_request()
            self._enter(State.IDLE)
            self._transport.resume_reading()
        elif owed or self._deaf:
            self._linger()
        else:
            self._close()

    def abandon(self) -> None:
        if not self._transport.is_closing():
            self._transport.abort()

    # What others ask.

    def has_unread(self) -> bool:
        return self._state is not State.LINGER and has_unread_bytes(self._transport)

    def give_way(self) -> None:
        """Another connection needs the place, and this one owes no answer."""
        self._transport.abort()
        self.place.leave()

    def shutdown(self) -> None:
        """The server closes (asked by uvicorn): an answer that is owed is still given."""
        self._last = True
        if self._state in (State.HEAD, State.IDLE):
            self._close()

    # States and their ends.

    def _enter(self, state: State) -> None:
        self._state = state
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._common.seconds(state), self._expired)
        if state in (State.HEAD, State.IDLE, State.LINGER):
            self._common.capacity.waits(self)
        else:
            self._common.capacity.works(self)

    def _expired(self) -> None:
        if self._state is State.HEAD and self._received:
            self._common.capacity.ended(self._state)
            self._refuse(HeadStalled(f"send the head within {self._common.settings.head_seconds:g} s"))
        elif self._state in (State.HEAD, State.IDLE):
            self._common.capacity.ended(self._state)
            self._close()
        else:
            if self._state is State.WORK:
                log.error("a request outlived every bound of its own")
            self._cut(self._state)

    def _cut(self, why: State) -> None:
        self._common.capacity.ended(why)
        self._transport.abort()

    def _close(self) -> None:
        if not self._transport.is_closing():
            self._enter(State.CLOSING)
            self._transport.close()

    def _linger(self) -> None:
        """Says that nothing more comes from here, and reads on a little: a close now would be a reset, with which a
        caller that is still sending may lose the answer."""
        self._enter(State.LINGER)
        self._transport.write_eof()
        if self._half_closed:
            self._close()
        else:
            self._transport.resume_reading()

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._discarded > self._common.settings.linger_bytes:
            self._cut(State.LINGER)
            return
        self._transport.pause_reading()
        self._loop.call_later(_DISCARD_PAUSE_S, self._discard_more)

    def _discard_more(self) -> None:
        if self._state is State.LINGER and not self._transport.is_closing():
            self._transport.resume_reading()

    def _hear_no_more(self) -> None:
        """Leaves what still comes unread until the answer has left."""
        self._deaf = True
        self._transport.pause_reading()

    def _misread(self, fault: ServiceError) -> None:
        """The parser stopped: within a head, within a body, or after both."""
        if self._exchange is None:
            self._refuse(fault)
            return
        if not self._exchange.body_ended:
            self._exchange.fail(fault)
        self._hear_no_more()

    def _weigh(self, of_body: int) -> None:
        """What has come against the bounds: all of a head, or a slice of a body, of so many bytes."""
        if self._exchange is None:
            try:
                self._head.check(self._received)
            except ServiceError as error:
                self._refuse(error)
        elif not self._exchange.body_ended:
            self._framing = max(0.0, self._framing + of_body - (1 + _FRAMING_SHARE) * self._content)
            if self._framing > _FRAMING_BYTES:
                self._misread(BadRequest(_NO_CONTENT))

    def _refuse(self, error: ServiceError) -> None:
        if not self._transport.is_closing():
            self._transport.write(refusal(error, self._common.metrics, "head"))
            self._linger()

    def _ask_whether_there(self, exchange: Exchange) -> None:
        """Whether a caller that closed its side still waits: if it is gone, its system answers a write with a reset.

        ``100 Continue`` is what every HTTP/1.1 client skips. Without it a caller that left looks like one that only
        has nothing more to send, and its work would be done for nobody.
        """
        if self._awaited(exchange):
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._look_for_reset(exchange, _PROBE_S[0])

    def _look_for_reset(self, exchange: Exchange, pause_s: float) -> None:
        if not self._awaited(exchange):
            return
        if was_reset(self._transport):
            exchange.disconnect()
            self._transport.abort()
            return
        later_s = min(_PROBE_S[1], 2 * pause_s)
        self._loop.call_later(pause_s, self._look_for_reset, exchange, later_s)

    def _awaited(self, exchange: Exchange) -> bool:
        return self._exchange is exchange and not exchange.begun and not self._transport.is_closing()
