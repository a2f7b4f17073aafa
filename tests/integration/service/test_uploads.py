"""Bodies on their way in: the slow ones hold up nobody, end as 408, and never count against the service."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.integration.service.conftest import ROOT, Running, Start, environment, launch, wait_until_ready
from tests.integration.service.test_life import post, until
from tests.integration.service.wire import connect, metric, post_head, read_answer

HALF = post_head(100_000) + b"x" * 50


def classified(service: Running, code: str, outcome: str) -> float:
    return metric(service, f'cpfd_requests_total{{arm="none",code="{code}",outcome="{outcome}",route="/classify"}}')


def given_up(service: Running, reason: str) -> float:
    return metric(service, f'cpfd_uploads_given_up_total{{reason="{reason}"}}')


def test_slow_uploads_take_nobodys_turn(start: Start, clip: bytes) -> None:
    service = start(CPFD_ADMISSION__MAX_REQUESTS="2", CPFD_DECODE__WORKERS="1")
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connect(service)).sendall(HALF)
        until(lambda: metric(service, "cpfd_uploads") == 8)
        assert metric(service, "cpfd_inflight_requests") == 0
        assert post(service, clip).status_code == 200
    until(lambda: metric(service, "cpfd_uploads") == 0)
    assert metric(service, "cpfd_upload_bytes") == 0


def test_where_all_uploads_are_taken_the_slowest_gives_way(start: Start, clip: bytes) -> None:
    service = start(
        CPFD_UPLOADS__MAX_COUNT="3",
        CPFD_UPLOADS__SLOW_AFTER_SECONDS="0.2",
        CPFD_UPLOADS__MIN_BYTES_PER_SECOND="0",
    )
    with ExitStack() as stack:
        held = [stack.enter_context(connect(service)) for _ in range(3)]
        for connection, size in zip(held, (2000, 50, 3000), strict=True):
            connection.sendall(post_head(100_000) + b"x" * size)
        until(lambda: metric(service, "cpfd_uploads") == 3)
        until(lambda: post(service, clip).status_code == 200)
        answer = read_answer(held[1])
        assert answer is not None
        assert (answer.status, answer.code) == (408, "upload_stalled")
        assert json.loads(answer.body)["retryable"]
        assert given_up(service, "gave_way") == 1


def test_where_all_uploads_are_taken_and_none_is_slow_a_new_one_comes_back_later(start: Start) -> None:
    service = start(CPFD_UPLOADS__MAX_COUNT="1", CPFD_UPLOADS__SLOW_AFTER_SECONDS="60")
    with connect(service) as held, connect(service) as connection:
        held.sendall(HALF)
        until(lambda: metric(service, "cpfd_uploads") == 1)
        connection.sendall(HALF)
        answer = read_answer(connection)
        assert answer is not None
        assert (answer.status, answer.code, answer.headers["connection"]) == (429, "overloaded", "close")
        assert int(answer.headers["retry-after"]) >= 1


def test_a_peer_may_have_so_many_slow_uploads(start: Start) -> None:
    service = start(
        CPFD_UPLOADS__MAX_SLOW_PER_PEER="2",
        CPFD_UPLOADS__SLOW_AFTER_SECONDS="0.2",
        CPFD_UPLOADS__MIN_BYTES_PER_SECOND="0",
    )
    with ExitStack() as stack:
        held = [stack.enter_context(connect(service)) for _ in range(5)]
        for connection in held:
            connection.sendall(HALF)
        until(lambda: given_up(service, "peer") == 3)
        assert metric(service, "cpfd_uploads") == 2
    assert classified(service, "upload_stalled", "refused") == 3


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("impatient") / "log"
    bounds = {"CPFD_BODY__STALL_SECONDS": "0.5", "CPFD_UPLOADS__MIN_BYTES_PER_SECOND": "1000"}
    running = wait_until_ready(launch(log, environment(bundles, **bounds)), log)
    yield running
    assert running.stop() == 0


def test_a_body_that_drips_is_given_up_as_one_that_stops(impatient: Running) -> None:
    """A byte now and then once kept a body alive until its deadline, and was then counted as the service's failure."""
    with connect(impatient) as connection:
        connection.sendall(HALF)
        over = threading.Event()

        def drip() -> None:
            while not over.wait(0.1):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            answer = read_answer(connection)
        finally:
            over.set()
            dripping.join()
        assert answer is not None
        assert (answer.status, answer.code, answer.headers["connection"]) == (408, "upload_stalled", "close")


def test_a_slow_body_is_a_408_however_its_timers_fall(impatient: Running) -> None:
    """The deadline, the window and the look at its rate end at one moment."""
    with ExitStack() as stack:
        held = [stack.enter_context(connect(impatient)) for _ in range(24)]
        before = classified(impatient, "upload_stalled", "refused")
        for i, connection in enumerate(held):
            connection.sendall(post_head(100_000, X_Request_Timeout_Ms=str(488 + i)) + b"x" * 50)
        answers = [read_answer(connection) for connection in held]
    assert {(answer.status, answer.code) for answer in answers if answer} == {(408, "upload_stalled")}
    assert classified(impatient, "upload_stalled", "refused") == before + 24
    assert classified(impatient, "deadline_exceeded", "failed") == 0


def test_a_spool_without_room_is_a_503_that_may_be_tried_again(bundles: Path, tmp_path: Path, clip: bytes) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"],
            cwd=ROOT,
            env=environment(bundles),
            stderr=stderr,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
        )
    try:
        service = wait_until_ready(process, log)
        full = post(service, b"x" * 3_000_000)
        assert (full.status_code, full.json()["code"], full.json()["retryable"]) == (503, "storage_exhausted", True)
        assert int(full.headers["retry-after"]) >= 1
        assert post(service, clip).status_code == 200
        until(lambda: any(line["level"] == "error" and "spool" in line["message"] for line in service.lines()))
        assert service.stop() == 0
    finally:
        process.kill()
        process.wait()


def test_an_encoded_part_is_refused_not_misread(client: httpx.Client) -> None:
    head = '--B\r\nContent-Disposition: form-data; name="title"\r\nContent-Transfer-Encoding: {}\r\n\r\n'
    for encoding, status in (("base64", 415), ("quoted-printable", 415), ("8bit", 200), ("Binary", 200)):
        body = head.format(encoding).encode() + b"YSBjYXQ=\r\n--B--\r\n"
        reply = client.post("/classify", content=body, headers={"Content-Type": "multipart/form-data; boundary=B"})
        assert reply.status_code == status
        if status != 200:
            assert reply.json()["code"] == "unsupported_content_type"


def test_metrics_are_text_in_the_document_too(client: httpx.Client) -> None:
    content = client.get("/openapi.json").json()["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert set(content) == {client.get("/metrics").headers["content-type"].partition(";")[0]}


def test_trusted_proxies_name_the_peer(start: Start) -> None:
    service = start(
        CPFD_CONNECTION__TRUSTED_PROXIES='["127.0.0.0/8"]',
        CPFD_UPLOADS__MAX_SLOW_PER_PEER="1",
        CPFD_UPLOADS__SLOW_AFTER_SECONDS="0.2",
        CPFD_UPLOADS__MIN_BYTES_PER_SECOND="0",
    )
    with ExitStack() as stack:
        for peer in ("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"):
            connection = stack.enter_context(connect(service))
            connection.sendall(post_head(100_000, X_Forwarded_For=peer) + b"x" * 50)
        until(lambda: given_up(service, "peer") == 1)  # the last two are of one network
        assert metric(service, "cpfd_uploads") == 3
