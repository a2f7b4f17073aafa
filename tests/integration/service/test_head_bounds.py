"""Heads that are too large, do not end or are no HTTP: answered as problems, and nobody else notices."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx
import pytest

from service import head_bounds
from tests.integration.service.conftest import Running, environment, launch


def talk(service: Running, sent: bytes, *, more: bytes = b"", times: int = 0) -> bytes:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=head_bounds.HEAD_SECONDS + 10) as connection:
        connection.sendall(sent)
        try:
            for _ in range(times):
                connection.sendall(more)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        except (BrokenPipeError, ConnectionResetError):
            return b""
    return answer


def problem(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    found: dict[str, object] = json.loads(body)
    return found


def counted(service: Running, code: str) -> float:
    """How often the code was counted for requests that no route ever saw."""
    exposed = httpx.get(f"{service.url}/metrics").text
    labels = f'{{arm="none",code="{code}",outcome="refused",route="other"}}'
    return sum(
        float(line.split()[-1]) for line in exposed.splitlines() if line.startswith(f"cpfd_requests_total{labels}")
    )


def test_a_head_over_the_bound_is_refused(service: Running) -> None:
    line = b"x-a: " + b"a" * 8000 + b"\r\n"
    answer = talk(service, b"GET /livez HTTP/1.1\r\nhost: a\r\n" + line * (head_bounds.MAX_HEAD_BYTES // 8000 + 1))
    assert problem(answer)["code"] == "head_too_large"
    assert httpx.get(f"{service.url}/livez").status_code == 200


def test_a_head_that_does_not_end_is_given_up(service: Running) -> None:
    assert problem(talk(service, b"GET /livez HTTP/1.1\r\nhost: a\r\n"))["code"] == "head_stalled"


def test_what_is_not_http_is_a_problem(service: Running) -> None:
    before = counted(service, "bad_request")
    assert problem(talk(service, b"\x16\x03\x01 hello\r\n\r\n"))["code"] == "bad_request"
    assert counted(service, "bad_request") == before + 1


def test_a_kept_connection_is_not_timed_as_a_head(service: Running) -> None:
    with httpx.Client(base_url=service.url) as client:
        for _ in range(3):
            assert client.get("/livez").status_code == 200


def test_compressed_bodies_are_refused(client: httpx.Client, clip: bytes) -> None:
    headers = {"Content-Type": "video/mp4", "Content-Encoding": "gzip"}
    reply = client.post("/classify", content=clip, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_content_type")


def test_a_trailing_slash_is_another_path(client: httpx.Client, clip: bytes) -> None:
    reply = client.post("/classify/", content=clip, headers={"Content-Type": "video/mp4"})
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("fault", ["port", "spool"])
def test_what_cannot_work_does_not_start(service: Running, bundles: Path, tmp_path: Path, fault: str) -> None:
    port = service.url.rpartition(":")[2]
    settings = {"PORT": port} if fault == "port" else {"CPFD_BODY__SPOOL_DIRECTORY": str(tmp_path / "absent")}
    process = launch(tmp_path / "log", environment(bundles) | settings)
    assert process.wait(30) == 1
    last = (tmp_path / "log").read_text().strip().splitlines()[-1]
    assert last.startswith("cpfd: ")
    assert (port if fault == "port" else "absent") in last
