"""The life of a connection: each state ends, nothing is swallowed without end, and no answer is lost on the way."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.service.conftest import Running, Start, environment, launch, wait_until_ready
from tests.integration.service.test_life import freeze, inflight, post, thaw, until
from tests.integration.service.wire import (
    connect,
    ends,
    memory_mb,
    metric,
    post_head,
    pour,
    read_answer,
)

GET = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"
MB = 1_000_000
SWALLOWED = 64 * MB
"""Taken by a service without bounds; one with bounds ends it within what the system's own buffers hold."""
BUFFERS = 24 * MB


@pytest.fixture(scope="module")
def brisk(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Running]:
    """A service whose connections end soon."""
    log = tmp_path_factory.mktemp("brisk") / "log"
    bounds = {
        "CPFD_KEEP_ALIVE_SECONDS": "1",
        "CPFD_CONNECTION__LINGER_SECONDS": "0.4",
        "CPFD_CONNECTION__LINGER_BYTES": "200000",
        "CPFD_BODY__MAX_MEDIA_BYTES": "2000000",
        "CPFD_BODY__STALL_SECONDS": "1",
    }
    running = wait_until_ready(launch(log, environment(bundles, **bounds)), log)
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (
            GET.replace(b"GET /livez", b"POST /livez").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
            405,
        ),
        (GET.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"), 200),
        (post_head(None), 400),
    ],
    ids=["a wrong method", "a probe", "a video"],
)
def test_trailers_without_end_are_cut(brisk: Running, request_: bytes, status: int) -> None:
    before = memory_mb(brisk)
    with connect(brisk) as connection:
        connection.sendall(request_ + b"0\r\n")
        sent = pour(connection, b"a: b\r\n" * 20_000, SWALLOWED)
    assert sent < BUFFERS
    assert memory_mb(brisk) - before < 30
    with connect(brisk) as connection:
        connection.sendall(request_ + b"0\r\n" + b"a: b\r\n" * 40_000)
        answer = read_answer(connection)
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (status, "close")


@pytest.mark.parametrize(("size", "count"), [(1, 20_000), (64, 5_700)])  # little is left to send after the refusal
def test_chunks_that_cost_more_than_they_bring_are_refused(brisk: Running, size: int, count: int) -> None:
    with connect(brisk) as connection:
        connection.sendall(post_head(None) + (b"%x\r\n%b\r\n" % (size, b"x" * size)) * count)
        answer = read_answer(connection)
        assert answer is not None
        assert (answer.status, answer.code) == (400, "bad_request")
        assert b"chunks of 128 bytes or more" in answer.body


def test_chunks_of_128_bytes_are_read_however_many(brisk: Running, clip: bytes) -> None:
    padded = clip + b"\0\0\0\0" + b"\0" * 800_000  # what a reader of MP4 passes over
    parts = [padded[i : i + 128] for i in range(0, len(padded), 128)]
    with connect(brisk) as connection:
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        connection.sendall(post_head(None) + chunks + b"0\r\nx-checksum: 7\r\n\r\n")
        answer = read_answer(connection)
        assert answer is not None
        assert answer.status == 200


@pytest.mark.parametrize(
    "talk",
    [
        [GET, b"\r\n"],
        [GET, b"x"],
        [GET + b"x"],
        [GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n"), b"x"],
        [post_head(9, kind="text/plain"), b"x"],
        [post_head(9, path="/nowhere"), b"x"],
        [post_head(None, kind="text/plain"), b"1\r\nx\r\n"],
        [post_head(10**10), b"x"],
    ],
    ids=["line", "byte", "byte at once", "body of a GET", "after 415", "after 404", "chunk after 415", "after 413"],
)
def test_no_connection_outlives_its_answer(brisk: Running, talk: list[bytes]) -> None:
    with connect(brisk) as connection:
        connection.settimeout(8)
        connection.sendall(talk[0])
        assert read_answer(connection) is not None
        for more in talk[1:]:
            connection.sendall(more)
        assert ends(connection)


@pytest.mark.parametrize("length", [10**10, None], ids=["declared", "chunked"])
def test_a_body_without_end_is_not_swallowed_after_its_refusal(brisk: Running, length: int | None) -> None:
    chunk = b"x" * 65_536
    with connect(brisk) as connection:
        connection.sendall(post_head(length))
        sent = pour(connection, chunk if length else b"10000\r\n" + chunk + b"\r\n", SWALLOWED)
        assert sent < BUFFERS
        answer = read_answer(connection)
    assert answer is not None
    assert (answer.status, answer.code, answer.headers["connection"]) == (413, "body_too_large", "close")


def test_a_refusal_closes_unless_the_whole_body_has_come(brisk: Running) -> None:
    with connect(brisk) as connection:
        for _ in range(2):
            connection.sendall(post_head(3, kind="text/plain") + b"abc")
            answer = read_answer(connection)
            assert answer is not None
            assert (answer.status, "connection" in answer.headers) == (415, False)
        connection.sendall(post_head(3, kind="text/plain"))
        answer = read_answer(connection)
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (415, "close")
        assert connection.recv(1) == b""


@pytest.mark.parametrize("stray", [b"x", b"\r\n", b"\x00\xff", GET, post_head(3) + b"abc"])
def test_what_follows_a_request_does_not_cost_it_its_answer(brisk: Running, clip: bytes, stray: bytes) -> None:
    for pieces in ([post_head(len(clip)) + clip + stray], [post_head(len(clip)) + clip, stray]):
        with connect(brisk) as connection:
            for piece in pieces:
                connection.sendall(piece)
            answer = read_answer(connection)
            assert answer is not None
            assert answer.status == 200


def test_a_half_closed_connection_gets_its_answer(brisk: Running, clip: bytes) -> None:
    with connect(brisk) as connection:
        connection.sendall(post_head(len(clip)) + clip)
        connection.shutdown(socket.SHUT_WR)
        answer = read_answer(connection)
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert connection.recv(1) == b""


def test_a_half_closed_connection_gets_its_answer_also_when_it_takes_long(start: Start, clip: bytes) -> None:
    service = start(CPFD_DECODE__WORKERS="1")
    frozen = freeze(service)
    with connect(service) as connection:
        connection.sendall(post_head(len(clip)) + clip)
        connection.shutdown(socket.SHUT_WR)
        until(lambda: inflight(service) == 1)
        assert connection.recv(1, socket.MSG_PEEK) == b"H"  # what tells a caller that waits from one that left
        thaw(frozen)
        answer = read_answer(connection)
        assert answer is not None
        assert (answer.status, answer.interim) == (200, 1)
    assert metric(service, 'cpfd_cancelled_total{stage="decode"}') == 0


def test_a_caller_that_leaves_is_noticed_in_each_stage(start: Start, clip: bytes) -> None:
    service = start(CPFD_DECODE__WORKERS="1")
    frozen = freeze(service)
    stages = (
        ("fetch", clip[:100], "cpfd_uploads"),
        ("price", clip, "cpfd_inflight_requests"),
        ("decode", clip, 'cpfd_stage_seconds_of_work{stage="decode"}'),
    )
    for stage, sent, shows in stages:
        gone = f'cpfd_cancelled_total{{stage="{stage}"}}'
        with connect(service) as connection:
            connection.sendall(post_head(len(clip)) + sent)
            until(lambda shows=shows: metric(service, shows) > 0)
        until(lambda gone=gone: gone in httpx.get(f"{service.url}/metrics").text)
        assert metric(service, gone) == 1
    thaw(frozen)
    assert (metric(service, "cpfd_uploads"), inflight(service)) == (0, 0)


def test_a_drain_tells_every_caller_to_go_elsewhere(start: Start, clip: bytes) -> None:
    service = start(CPFD_DECODE__WORKERS="1", CPFD_DRAIN__NOTICE_SECONDS="1")
    with connect(service) as kept, connect(service) as probe, ThreadPoolExecutor(1) as callers:
        frozen = freeze(service)
        held = callers.submit(post, service, clip)
        until(lambda: inflight(service) == 1)
        kept.sendall(GET)
        answer = read_answer(kept)
        assert answer is not None
        assert "connection" not in answer.headers
        service.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{service.url}/readyz").status_code == 503)
        for connection, sent, status in (
            (kept, post_head(len(clip)) + clip, 503),
            (probe, GET.replace(b"livez", b"readyz"), 503),
        ):
            connection.sendall(sent)
            answer = read_answer(connection)
            assert answer is not None
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert connection.recv(1) == b""
        thaw(frozen)
        assert held.result().status_code == 200
        assert held.result().headers["connection"] == "close"
        assert service.process.wait(10) == 0


def test_an_upload_that_began_before_a_drain_is_answered(start: Start, clip: bytes) -> None:
    service = start(CPFD_DRAIN__NOTICE_SECONDS="0")
    with connect(service) as connection:
        connection.sendall(post_head(len(clip)) + clip[:-1])
        until(lambda: metric(service, "cpfd_uploads") == 1)
        service.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{service.url}/readyz").status_code == 503)
        connection.sendall(clip[-1:])
        answer = read_answer(connection)
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert service.process.wait(10) == 0
