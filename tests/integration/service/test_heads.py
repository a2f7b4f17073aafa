"""Heads that are too large, do not end or are no HTTP: answered as problems, and nobody else notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.service.conftest import Running, environment, launch, wait_until_ready
from tests.integration.service.wire import connect, ends, metric, post_head, read_answer

START = b"GET /livez HTTP/1.1\r\nhost: a\r\n"
MAX_HEAD_BYTES = 16_384


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Running]:
    """A service with small bounds on heads."""
    log = tmp_path_factory.mktemp("strict") / "log"
    bounds = {"CPFD_CONNECTION__HEAD_SECONDS": "0.5", "CPFD_CONNECTION__MAX_HEAD_BYTES": str(MAX_HEAD_BYTES)}
    running = wait_until_ready(launch(log, environment(bundles, **bounds)), log)
    yield running
    assert running.stop() == 0


def refused(service: Running, sent: bytes) -> tuple[int, str]:
    with connect(service) as connection:
        connection.sendall(sent)
        answer = read_answer(connection)
        assert answer is not None
        assert answer.headers["connection"] == "close"
        assert ends(connection)
    assert httpx.get(f"{service.url}/livez").status_code == 200
    return answer.status, answer.code


def test_a_head_over_the_bound_is_refused(strict: Running) -> None:
    line = b"x-a: " + b"a" * 4000 + b"\r\n"
    assert refused(strict, START + line * 8) == (431, "head_too_large")
    assert refused(strict, START + b"x-a: " + b"a" * 2 * MAX_HEAD_BYTES) == (431, "head_too_large")
    assert refused(strict, b"GET /livez?" + b"a" * 2 * MAX_HEAD_BYTES) == (431, "head_too_large")


def test_a_head_of_many_small_fields_is_refused(strict: Running) -> None:
    assert refused(strict, START + b"a: b\r\n" * 1000 + b"\r\n") == (431, "head_too_large")


def test_a_head_that_does_not_end_is_given_up_and_counted(strict: Running) -> None:
    counted = 'cpfd_requests_total{arm="none",code="head_stalled",outcome="refused",route="other"}'
    assert refused(strict, START) == (408, "head_stalled")
    assert metric(strict, counted) == 1
    assert refused(strict, b"\r\n\r\nGET") == (408, "head_stalled")
    assert metric(strict, counted) == 2


def test_a_connection_that_says_nothing_is_closed_in_silence(strict: Running) -> None:
    with connect(strict) as connection:
        assert connection.recv(1) == b""


def test_what_is_not_http_is_a_problem(strict: Running) -> None:
    counted = 'cpfd_requests_total{arm="none",code="bad_request",outcome="refused",route="other"}'
    for sent in (
        b"\x16\x03\x01 hello\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
        post_head(3).replace(b"Length: 3", b"Length: 3\r\nTransfer-Encoding: chunked"),
        post_head(3, Connection="upgrade", Upgrade="h2c") + b"abc",
    ):
        assert refused(strict, sent) == (400, "bad_request")
    assert metric(strict, counted) == 5


def test_an_upgrade_is_ignored_and_ends_the_connection(strict: Running) -> None:
    key = b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    with connect(strict) as connection:
        connection.sendall(START + b"connection: upgrade\r\nupgrade: websocket\r\n" + key + b"\r\n")
        answer = read_answer(connection)
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert ends(connection)


@pytest.mark.parametrize("length", ["0" * 5000 + "3", "9" * 30, "9" * 19])
def test_a_length_that_is_no_sensible_number_is_the_callers_fault(strict: Running, length: str) -> None:
    with connect(strict) as connection:
        connection.sendall(post_head(0).replace(b"Length: 0", f"Length: {length}".encode()) + b"abc")
        answer = read_answer(connection)
        assert answer is not None
        assert (answer.status, answer.code) == (400, "bad_request")


def test_a_kept_connection_is_not_timed_as_a_head(service: Running) -> None:
    with httpx.Client(base_url=service.url) as client:
        for _ in range(3):
            assert client.get("/livez").status_code == 200


def test_clients_of_http_1_0_and_those_that_wait_to_be_asked_are_served(service: Running, clip: bytes) -> None:
    with connect(service) as connection:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        answer = read_answer(connection)
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert ends(connection)
    with connect(service) as connection:
        connection.sendall(post_head(len(clip), Expect="100-continue"))
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(clip)
        answer = read_answer(connection)
        assert answer is not None
        assert answer.status == 200
    with connect(service) as connection:
        connection.sendall(post_head(10**9, Expect="100-continue"))
        answer = read_answer(connection)
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (413, "close")


def test_compressed_bodies_are_refused(client: httpx.Client, clip: bytes) -> None:
    headers = {"Content-Type": "video/mp4", "Content-Encoding": "gzip"}
    reply = client.post("/classify", content=clip, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_content_type")


def test_a_trailing_slash_is_another_path(client: httpx.Client, clip: bytes) -> None:
    reply = client.post("/classify/", content=clip, headers={"Content-Type": "video/mp4"})
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_answer_head_without_a_body(service: Running, path: str) -> None:
    with connect(service) as connection:
        for _ in range(2):
            connection.sendall(f"HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(65_536)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("fault", ["port", "spool"])
def test_what_cannot_work_does_not_start(service: Running, bundles: Path, tmp_path: Path, fault: str) -> None:
    port = service.url.rpartition(":")[2]
    settings = {"PORT": port} if fault == "port" else {"CPFD_BODY__SPOOL_DIRECTORY": str(tmp_path / "absent")}
    process = launch(tmp_path / "log", environment(bundles) | settings)
    assert process.wait(60) == 1
    last = (tmp_path / "log").read_text().strip().splitlines()[-1]
    assert last.startswith("cpfd: ")
    assert (port if fault == "port" else "absent") in last


def test_both_families_are_heard_on_the_unspecified_address(bundles: Path, tmp_path: Path) -> None:
    process = launch(tmp_path / "log", environment(bundles, HOST="::"))
    try:
        running = wait_until_ready(process, tmp_path / "log")  # which asks 127.0.0.1
        port = running.url.rpartition(":")[2]
        assert httpx.get(f"http://[::1]:{port}/livez").status_code == 200
        assert running.stop() == 0
    finally:
        process.kill()
        process.wait()
