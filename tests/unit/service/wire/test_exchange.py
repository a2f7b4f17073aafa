"""An answer on its way out: framed so that what follows on the connection cannot be taken for part of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.errors import BadRequest
from service.wire.exchange import Exchange


class Line:
    """Keeps what an exchange says."""

    def __init__(self, last: bool = False) -> None:
        self.written, self.closed, self.last, self.wanted, self.abandoned = b"", None, last, 0, False

    def write(self, data: bytes) -> None:
        self.written += data

    def want_more(self) -> None:
        self.wanted += 1

    def must_close(self) -> bool:
        return self.last

    async def drained(self) -> None:
        pass

    def answered(self, *, close: bool) -> None:
        self.closed = close

    def abandon(self) -> None:
        self.abandoned = True


def answer(
    *bodies: bytes, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = (), **request: Any
) -> tuple[bytes, Line]:
    line = Line(request.pop("last", False))
    scope = {"type": "http", "method": "GET", "http_version": "1.1"} | request

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for i, body in enumerate(bodies, 1):
            await send({"type": "http.response.body", "body": body, "more_body": i < len(bodies)})

    async def serve() -> None:
        exchange = Exchange(line, scope, [(b"date", b"now")], keep=scope["http_version"] != "1.0", expects=False)
        await exchange.run(app)

    asyncio.run(serve())
    return line.written, line


def test_a_body_at_once_has_its_length() -> None:
    written, line = answer(b"hello")
    assert written == b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 5\r\n\r\nhello"
    assert line.closed is False


def test_a_body_in_parts_is_chunked_and_closes_where_chunks_are_not_known() -> None:
    written, line = answer(b"hel", b"", b"lo")
    assert written.endswith(b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
    assert line.closed is False
    written, line = answer(b"hel", b"lo", http_version="1.0")
    assert written.endswith(b"connection: close\r\n\r\nhello")
    assert line.closed is True


def test_a_head_is_answered_without_a_body() -> None:
    written, line = answer(b"hello", method="HEAD", headers=((b"content-length", b"5"),))
    assert written.endswith(b"content-length: 5\r\n\r\n")
    assert line.closed is False


@pytest.mark.parametrize(
    "closing", [{"last": True}, {"headers": ((b"Connection", b"Close"),)}, {"http_version": "1.0"}], ids=str
)
def test_whoever_wants_to_close_closes_and_says_so_once(closing: dict[str, Any]) -> None:
    written, line = answer(b"hello", **closing)
    assert written.lower().count(b"connection: close\r\n") == 1
    assert line.closed is True


def test_an_answer_of_another_length_than_it_says_ends_its_connection() -> None:
    _, line = answer(b"hello", headers=((b"content-length", b"4"),))
    assert line.closed is True


def test_an_app_without_an_answer_ends_its_connection() -> None:
    _, line = answer()
    assert line.abandoned


def test_the_body_is_read_to_its_end_its_fault_or_its_senders_departure() -> None:
    async def read(*told: str) -> list[Any]:
        line = Line()
        exchange = Exchange(line, {"method": "POST", "http_version": "1.1"}, [], keep=True, expects=True)
        exchange.feed(b"a")
        exchange.feed(b"b")
        found: list[Any] = [await exchange.receive()]
        for event in told:
            if event == "fail":
                exchange.fail(BadRequest("x"))
            else:
                getattr(exchange, event)()
        try:
            found += [await exchange.receive()]
        except BadRequest as error:
            found.append(error.code)
        assert line.written.count(b"100 Continue") == 1
        return found

    first = {"type": "http.request", "body": b"ab", "more_body": True}
    last = {"type": "http.request", "body": b"", "more_body": False}
    assert asyncio.run(read("end_body")) == [first, last]
    assert asyncio.run(read("fail")) == [first, "bad_request"]
    assert asyncio.run(read("disconnect")) == [first, {"type": "http.disconnect"}]
