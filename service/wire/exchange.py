"""One request and its answer, between a connection and the ASGI app.

The connection feeds the body and says when it has ended, failed or lost its sender; the app reads it with ``receive``
and answers with ``send``. What is unread is bounded: over ``HIGH_WATER`` the connection stops reading its socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Protocol

from starlette.types import ASGIApp, Message

from service.errors import ServiceError

log = logging.getLogger(__name__)
HIGH_WATER = 65_536
_CLOSE = b"connection: close\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_WITHOUT_BODY = frozenset({204, 304})


def _status_line(status: int) -> bytes:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


class Line(Protocol):
    """What an exchange asks of its connection."""

    def write(self, data: bytes) -> None: ...

    def want_more(self) -> None:
        """Reads the socket again, if it may."""

    def must_close(self) -> bool:
        """Whether the answer that begins now is the connection's last."""

    async def drained(self) -> None:
        """Returns when the peer takes bytes again, or is gone."""

    def answered(self, *, close: bool) -> None: ...

    def abandon(self) -> None:
        """Cuts the connection: there is no answer, or only part of one."""


class Exchange:
    """A request whose head has been read.

    Args:
        line: its connection.
        scope: of ASGI.
        default_headers: sent with every answer.
        keep: whether the client would keep the connection.
        expects: whether it waits for ``100 Continue``.
    """

    def __init__(
        self,
        line: Line,
        scope: dict[str, Any],
        default_headers: Iterable[tuple[bytes, bytes]],
        keep: bool,
        expects: bool,
    ) -> None:
        self._line = line
        self._scope = scope
        self._default_headers = default_headers
        self._keep = keep
        self._expects = expects
        self._chunks: list[bytes] = []
        self._unread = 0
        self._news = asyncio.Event()
        self._fault: ServiceError | None = None
        self._gone = False
        self._told_end = False
        self._start: Message | None = None
        self._chunked = self._close = self._complete = False
        self._left: int | None = None
        self.body_ended = False
        self.begun = False

    @property
    def is_modern(self) -> bool:
        """Whether the client reads interim answers: not so in HTTP/1.0."""
        return bool(self._scope["http_version"] != "1.0")

    def feed(self, data: bytes) -> bool:
        """Takes bytes of the body; returns whether it has room for more."""
        self._chunks.append(data)
        self._unread += len(data)
        self._news.set()
        return self._unread < HIGH_WATER

    def end_body(self) -> None:
        self.body_ended = True
        self._news.set()

    def fail(self, fault: ServiceError) -> None:
        """The body cannot be read on: the app learns why, and answers."""
        self._fault = fault
        self._news.set()

    def disconnect(self) -> None:
        self._gone = True
        self._news.set()

    async def run(self, app: ASGIApp) -> None:
        """Serves the request. Whatever happens, the connection learns how it ended."""
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:
            log.exception("the app broke off")
        finally:
            if not self._complete and not self._gone:
                self._line.abandon()

    async def receive(self) -> Message:
        """The next part of the body, then ``http.disconnect``.

        Raises:
            ServiceError: the body is not HTTP, or not one that is read.
        """
        if self._expects and not self._gone and not self.begun:
            self._expects = False
            self._line.write(_CONTINUE)
        while True:
            if self._gone or self._complete:
                return {"type": "http.disconnect"}
            if self._fault is not None:
                raise self._fault
            if self._chunks or (self.body_ended and not self._told_end):
                body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks, self._unread, self._told_end = [], 0, self.body_ended
                return {"type": "http.request", "body": body, "more_body": not self.body_ended}
            self._news.clear()
            self._line.want_more()
            await self._news.wait()

    async def send(self, message: Message) -> None:
        """Writes the answer, its head together with its first bytes."""
        await self._line.drained()
        if self._gone:
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        head = b"" if self.begun else self._head(len(body), more)
        if self._scope["method"] == "HEAD":
            body = b""
        elif self._left is not None:
            self._left -= len(body)
        if self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        self._line.write(head + body)
        if not more:
            self._complete = True
            self._news.set()
            # An answer of another length than it says would be read as part of the next.
            self._line.answered(close=self._close or self._left not in (None, 0))

    def _head(self, length: int, more: bool) -> bytes:
        if self._start is None:
            raise RuntimeError("an answer begins with http.response.start")
        status, headers = self._start["status"], list(self._start.get("headers", []))
        self.begun = True
        names = {name.lower(): value for name, value in headers}
        bare = self._scope["method"] == "HEAD" or status in _WITHOUT_BODY
        self._close = not self._keep or self._line.must_close() or names.get(b"connection", b"").lower() == b"close"
        parts = [_status_line(status)]
        parts += [
            b"%b: %b\r\n" % pair for pair in (*self._default_headers, *headers) if pair[0].lower() != b"connection"
        ]
        if b"content-length" in names:
            self._left = None if bare else int(names[b"content-length"])
        elif not more and status not in _WITHOUT_BODY:
            parts.append(b"content-length: %d\r\n" % length)
        elif more and self.is_modern and not bare:
            self._chunked = True
            parts.append(b"transfer-encoding: chunked\r\n")
        elif more:
            self._close = True
        if self._close:
            parts.append(_CLOSE)
        return b"".join(parts) + b"\r\n"
