"""A connection over a transport that only keeps what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from service.errors import ServiceError
from service.metrics import Metrics
from service.settings import ConnectionSettings
from service.wire.capacity import Capacity, Place
from service.wire.connection import Common, Connection
from tests.until import until

GET = b"GET /classify HTTP/1.1\r\nhost: a\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written, and how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.end, self.reading, self.eof = b"", "", True, False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("sockname", "peername") else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.eof = True

    def is_closing(self) -> bool:
        return bool(self.end)

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = "cut"

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


async def never(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no route may see the request")


class Scene:
    """A connection, its transport and its metrics."""

    def __init__(self, app: Any, *, backstop_s: float = 9.0, **bounds: float) -> None:
        settings = ConnectionSettings(**({"head_seconds": 9.0, "linger_seconds": 9.0} | bounds))  # type: ignore[arg-type]
        self.metrics = Metrics()
        self.capacity = Capacity(settings, 9, self.metrics)
        place = self.capacity.take("127.0.0.1")
        assert isinstance(place, Place)
        keep_alive_s = bounds.pop("keep_alive_seconds", 9.0)
        self.common = Common(
            app, settings, keep_alive_s, backstop_s, self.capacity, self.metrics, lambda: False, ServerState(), {}
        )
        self.connection, self.wire = Connection(self.common, place), Wire()
        self.connection.connection_made(self.wire)

    async def says(self, *sent: bytes) -> bytes:
        """What the connection has written once it heard all of it."""
        for data in sent:
            self.connection.data_received(data)
            await asyncio.sleep(0.01)
        return self.wire.written

    def ended(self) -> dict[str, float]:
        samples = self.metrics.connections_ended.collect()[0].samples
        return {s.labels["reason"]: s.value for s in samples if s.name.endswith("_total") and s.value}

    def refused(self) -> dict[str, float]:
        """Code -> count, of refusals that no route saw."""
        found: dict[str, float] = {}
        for sample in self.metrics.requests.collect()[0].samples:
            if sample.name == "cpfd_requests_total":
                rest = {name: value for name, value in sample.labels.items() if name != "code"}
                assert rest == {"route": "other", "arm": "none", "outcome": "refused"}
                found[sample.labels["code"]] = sample.value
        return found


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def within_bounds() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(within_bounds())


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ([GET[:-2], b"x-a: " + b"a" * 2000], 431, "head_too_large"),
        ([GET[:-2] + b"x: y\r\n" * 17 + b"\r\n"], 431, "head_too_large"),
        ([GET[:-2]], 408, "head_stalled"),
        ([b"\x16\x03\x01 hello\r\n\r\n"], 400, "bad_request"),
    ],
)
def test_a_refusal_is_answered_and_counted_once(sent: list[bytes], status: int, code: str) -> None:
    async def scenario() -> None:
        scene = Scene(nobody, head_seconds=0.05, max_head_bytes=1024, max_headers=16)
        await scene.says(*sent)
        await until(lambda: scene.wire.eof)
        assert scene.wire.written.startswith(f"HTTP/1.1 {status} ".encode())
        assert f'"code":"{code}"'.encode() in scene.wire.written
        assert scene.refused() == {code: 1.0}
        assert scene.wire.eof

    play(scenario)


def test_a_sender_that_left_is_not_counted() -> None:
    async def scenario() -> None:
        scene = Scene(nobody, head_seconds=0.05)
        await scene.says(GET[:-2])
        assert not scene.connection.eof_received()
        scene.connection.connection_lost(None)
        await asyncio.sleep(0.1)
        assert scene.wire.written == b""
        assert (scene.refused(), scene.ended()) == ({}, {})
        assert scene.capacity.total == 0

    play(scenario)


def test_an_answer_that_is_not_taken_is_cut() -> None:
    async def scenario() -> None:
        scene = Scene(hello, send_seconds=0.05)
        await scene.says(GET)
        scene.connection.pause_writing()
        await until(lambda: bool(scene.wire.end))
        assert (scene.wire.end, scene.ended()) == ("cut", {"send": 1.0})

    play(scenario)


def test_an_answer_that_is_taken_in_time_is_not_cut() -> None:
    async def scenario() -> None:
        scene = Scene(hello, send_seconds=0.05)
        scene.connection.pause_writing()
        assert await scene.says(GET) == b""  # the app waits
        scene.connection.resume_writing()
        await asyncio.sleep(0.1)
        assert scene.wire.written.endswith(b"hello")
        assert scene.wire.end == ""

    play(scenario)


def test_a_request_that_outlives_every_bound_is_cut() -> None:
    async def scenario() -> None:
        scene = Scene(never, backstop_s=0.05)
        await scene.says(GET)
        await until(lambda: bool(scene.wire.end))
        assert (scene.wire.end, scene.ended()) == ("cut", {"backstop": 1.0})
        scene.connection.connection_lost(None)
        await until(lambda: not scene.common.server.tasks)

    play(scenario)


def test_what_still_comes_after_a_refusal_is_bounded_in_bytes() -> None:
    async def scenario() -> None:
        scene = Scene(hello, linger_bytes=1000)
        await scene.says(GET[:-2] + b"content-length: 100000\r\n\r\n")
        assert (scene.wire.eof, scene.wire.reading, scene.wire.end) == (True, True, "")
        assert b"connection: close" in scene.wire.written
        await scene.says(b"x" * 999)
        assert scene.wire.end == ""
        await scene.says(b"x" * 2)
        assert (scene.wire.end, scene.ended()) == ("cut", {"linger": 1.0})

    play(scenario)


def test_a_body_is_not_read_faster_than_the_app_takes_it() -> None:
    taken: list[int] = []
    go_on = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        while (message := await receive())["more_body"]:
            taken.append(len(message["body"]))
        taken.append(len(message["body"]))
        await hello(scope, receive, send)

    async def scenario() -> None:
        scene = Scene(slow)
        await scene.says(GET[:-2] + b"content-length: 100000\r\n\r\n", b"x" * 60_000)
        assert scene.wire.reading
        await scene.says(b"x" * 30_000)
        assert not scene.wire.reading
        go_on.set()
        await until(lambda: scene.wire.reading)
        await scene.says(b"x" * 10_000)
        await until(lambda: b"hello" in scene.wire.written)
        assert sum(taken) == 100_000

    play(scenario)


def test_one_request_is_served_after_another_and_nothing_is_kept_of_the_first() -> None:
    seen: list[Any] = []

    async def notes(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["method"], scope["path"], scope["query_string"], len(scope["headers"])))
        await hello(scope, receive, send)

    async def scenario() -> None:
        scene = Scene(notes)
        written = await scene.says(
            b"GET /a%20b?c=d HTTP/1.1\r\nhost: a\r\nx: y\r\n\r\n", b"\r\n", b"PO", b"ST / HTTP/1.1\r\nhost: a\r\n\r\n"
        )
        assert written.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert b"connection: close" not in written
        assert seen == [("GET", "/a b", b"c=d", 2), ("POST", "/", b"", 1)]

    play(scenario)


def test_the_server_closes_those_that_wait_and_lets_the_others_end() -> None:
    go_on = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await hello(scope, receive, send)

    async def scenario() -> None:
        waits, works = Scene(slow), Scene(slow)
        await works.says(GET)
        for scene in (waits, works):
            scene.connection.shutdown()
        assert (waits.wire.end, works.wire.end) == ("closed", "")
        go_on.set()
        await until(lambda: b"hello" in works.wire.written)
        assert b"connection: close" in works.wire.written
        assert works.wire.end == "closed"

    play(scenario)


def test_an_app_that_breaks_off_costs_its_own_connection() -> None:
    async def scenario() -> None:
        scene = Scene(nobody)
        await scene.says(GET)
        await until(lambda: scene.wire.end == "cut")

    play(scenario)


POST = b"POST /classify HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
LARGE = b"%x\r\n%b\r\n" % (1_000_000, b"x" * 1_000_000)
"""A chunk that brings much; nothing may be saved up by it."""


async def reader(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body, then says so."""
    try:
        while (await receive()).get("more_body"):
            pass
    except ServiceError as error:
        await PlainTextResponse(error.detail, 400)(scope, receive, send)
    else:
        await PlainTextResponse("read")(scope, receive, send)


def chunks(size: int, in_all: int) -> bytes:
    return b"%x\r\n%b\r\n" % (size, b"x" * size) * (in_all // size)


def trailers(in_all: int) -> bytes:
    return b"0\r\n" + b"a: b\r\n" * (in_all // 6) + b"\r\n"


@pytest.mark.parametrize(
    ("body", "is_read"),
    [
        (chunks(128, 1_000_000) + trailers(0), True),
        (chunks(64, 1_000_000) + trailers(0), False),
        (chunks(1, 20_000) + trailers(0), False),
        (LARGE + chunks(1, 20_000) + trailers(0), False),
        (LARGE + b"1;" + b"a" * 60_000 + b"\r\nx\r\n" + trailers(0), False),
        (LARGE + trailers(6_000), True),
        (LARGE + trailers(60_000), False),
    ],
    ids=["of 128", "of 64", "of 1", "of 1 after much", "an extension", "some trailers", "many trailers"],
)
def test_what_is_no_content_of_a_body_is_bounded(body: bytes, is_read: bool) -> None:
    async def scenario() -> None:
        scene = Scene(reader)
        parts = [body[i : i + 100_000] for i in range(0, len(body), 100_000)]
        said = await scene.says(POST, *parts)
        assert said.startswith(b"HTTP/1.1 200 " if is_read else b"HTTP/1.1 400 ")
        assert (b"chunks of 128 bytes or more" in said) is not is_read

    play(scenario)


@pytest.mark.parametrize("padding", [b"x: " + b" " * 20_000 + b"y\r\n", b"x: " + b"y" * 60_000 + b"\r\n"])
def test_a_large_head_is_not_taken_for_the_framing_of_its_body(padding: bytes) -> None:
    async def scenario() -> None:
        scene = Scene(reader)
        head = POST.replace(b"transfer-encoding: chunked\r\n", padding + b"content-length: 40\r\n")
        assert (await scene.says(head + b"z" * 20, b"z" * 20)).startswith(b"HTTP/1.1 200 ")

    play(scenario)


def test_what_is_sent_after_a_refusal_is_read_with_pauses() -> None:
    async def scenario() -> None:
        scene = Scene(reader, linger_bytes=150_000)
        await scene.says(POST, chunks(1, 60_000))
        await until(lambda: scene.wire.eof)
        scene.connection.data_received(b"x" * 100_000)
        assert not scene.wire.reading
        await until(lambda: scene.wire.reading)
        assert scene.wire.end == ""
        scene.connection.data_received(b"x" * 100_000)
        assert scene.wire.end == "cut"
        assert scene.ended() == {"linger": 1.0}

    play(scenario)
