"""uvicorn's HTTP protocol with bounds on a request's head, which uvicorn leaves open: size and time.

Bodies are bounded by ``service.stages.fetch``; a head comes before any of our code runs. What is refused here, and
what the parser cannot read, is answered as a problem too. It has passed no middleware, so it is not in the metrics.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.problem import MEDIA_TYPE
from service.api.schemas import Problem

MAX_HEAD_BYTES = 128 * 1024
"""Request line and headers. Long texts belong into a form, not into the query."""
HEAD_SECONDS = 10.0
"""From the connection, or from a kept connection's first byte, to the end of the headers."""


class BoundedHeadProtocol(HttpToolsProtocol):
    """Refuses heads that are too large (431) or do not end (408), and tells parse errors (400), as problems."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, "head_too_large", "Head too large", f"send at most {MAX_HEAD_BYTES} bytes of headers")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(
            400, "bad_request", "Bad request", "this is not HTTP as the service reads it: send long texts in a form"
        )

    def _begin_head(self) -> None:
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_timed_out)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        self._refuse(408, "head_stalled", "Head stalled", f"send the head within {HEAD_SECONDS:g} s", retryable=True)

    def _refuse(self, status: int, code: str, title: str, detail: str, *, retryable: bool = False) -> None:
        self._end_head()
        if self.transport.is_closing():
            return
        request_id = uuid4().hex
        body = Problem(
            type=f"urn:cpfd:problem:{code}",
            title=title,
            status=status,
            detail=detail,
            instance=f"urn:cpfd:request:{request_id}",
            code=code,
            retryable=retryable,
            stage="head",
            request_id=request_id,
        ).model_dump_json()
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write((head + body).encode())
        self.transport.close()
