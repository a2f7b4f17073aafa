"""uvicorn's HTTP protocol with bounds on a request's head, which uvicorn leaves open: size and time.

Bodies are bounded by ``service.stages.fetch``; a head comes before any of our code runs. What is refused here, and
what the parser cannot read, is answered as a problem too. It has passed no middleware, so it is counted here: by its
code, of route ``other`` (its path may not have been read) and of no arm.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.problem import MEDIA_TYPE, outcome_of, problem_of
from service.context import RequestContext
from service.errors import BadRequest, CallerError, HeadStalled, HeadTooLarge
from service.metrics import NO_ARM, OTHER_ROUTE, Metrics

MAX_HEAD_BYTES = 128 * 1024
"""Request line and headers. Long texts belong into a form, not into the query."""
HEAD_SECONDS = 10.0
"""From the connection, or from a kept connection's first byte, to the end of the headers."""


class BoundedHeadProtocol(HttpToolsProtocol):
    """Refuses heads that are too large (431) or do not end (408), and tells parse errors (400), as problems."""

    def __init__(self, *args: Any, metrics: Metrics, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._metrics = metrics
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
            self._refuse(HeadTooLarge(f"send at most {MAX_HEAD_BYTES} bytes of headers"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(BadRequest("this is not HTTP as the service reads it: send long texts in a form"))

    def _begin_head(self) -> None:
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_timed_out)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        self._refuse(HeadStalled(f"send the head within {HEAD_SECONDS:g} s"))

    def _refuse(self, error: CallerError) -> None:
        self._end_head()
        if self.transport.is_closing():
            return
        self._metrics.requests.labels(OTHER_ROUTE, error.code, NO_ARM, outcome_of(error.code)).inc()
        problem = problem_of(error, RequestContext(uuid4().hex, stage="head"))
        body = problem.model_dump_json()
        head = (
            f"HTTP/1.1 {problem.status} {problem.title}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {problem.request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write((head + body).encode())
        self.transport.close()


def counted_in(metrics: Metrics) -> type[BoundedHeadProtocol]:
    """The protocol, as uvicorn makes it for each connection, counting its refusals in ``metrics``."""

    class Counted(BoundedHeadProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, metrics=metrics, **kwargs)

    return Counted
