"""Every bad input of the catalogue ends in its typed 4xx, and the service is ready after the last one."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from service.api.schemas import Problem
from tests.integration.service.conftest import Running, read_answer
from tests.integration.service.test_life import until
from tests.synthetic_bundle import (
    write_audio_only,
    write_clip,
    write_clip_without_frames,
    write_huge_picture,
    write_truncated_clip,
)


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = Problem.model_validate(response.json())
    assert body.status == status
    assert body.type == f"urn:cpfd:problem:{code}"
    assert body.request_id == response.headers["x-request-id"]
    assert "/" not in body.detail.replace("video/*", "").replace("/readyz", "").replace("/docs", "").replace(
        "multipart/form-data", ""
    ).replace("application/octet-stream", "").replace("/classify", "")
    fields: dict[str, Any] = response.json()
    return fields


@pytest.fixture(autouse=True)
def _ready_afterwards(client: httpx.Client) -> Any:
    yield
    assert client.get("/readyz").status_code == 200


MEDIA: list[tuple[str, Callable[[Path], Path], str]] = [
    ("garbage.mp4", lambda p: (p.write_bytes(b"\x00\x01garbage" * 500), p)[1], "unsupported_media"),
    # A playlist is not read here in any case: a spooled upload has neither a name nor neighbours. Whether formats that
    # are not on the list are refused shows in one that FFmpeg would read (test_errors.py has the playlists).
    ("unlisted.y4m", lambda p: write_clip(p, codec="wrapped_avframe"), "unsupported_media"),
    ("audio.mp4", write_audio_only, "no_video_stream"),
    ("cut.mp4", write_truncated_clip, "corrupt_video|truncated_video"),
    ("cut.avi", lambda p: write_truncated_clip(p, codec="mpeg4"), "truncated_video"),
    ("none.avi", write_clip_without_frames, "no_frames"),
    ("8k.mp4", write_huge_picture, "frame_too_large"),
    ("long.mp4", lambda p: write_clip(p, seconds=8, size=(32, 32), fps=5), "video_too_long"),
]


@pytest.mark.parametrize(("name", "write", "code"), MEDIA, ids=[name for name, _, _ in MEDIA])
def test_a_video_that_cannot_be_decoded_is_refused_even_where_text_came_with_it(
    client: httpx.Client, tmp_path: Path, name: str, write: Callable[[Path], Path], code: str
) -> None:
    data = write(tmp_path / name).read_bytes()
    form = client.post("/classify", files={"video": (name, data), "title": (None, "a cat")})
    assert form.json()["code"] in code.split("|")
    code = form.json()["code"]
    assert problem(form, 422, code)["stage"] in ("price", "decode")
    raw = client.post("/classify", content=data, params={"title": "a cat"}, headers={"Content-Type": "video/mp4"})
    problem(raw, 422, code)


def test_bodies_without_anything_in_them(client: httpx.Client) -> None:
    problem(client.post("/classify"), 400, "empty_body")
    problem(client.post("/classify", content=b"", headers={"Content-Type": "video/mp4"}), 400, "empty_body")
    nothing = httpx.Request("POST", "/", content=iter([b""])).stream
    headers = {"Content-Type": "multipart/form-data; boundary=B", "Transfer-Encoding": "chunked"}
    problem(client.post("/classify", content=nothing, headers=headers), 400, "empty_body")
    problem(client.post("/classify", files={"video": ("x.mp4", b"")}), 422, "empty_video")
    problem(client.post("/classify", files={"video": ("x.mp4", b""), "title": (None, "t")}), 422, "empty_video")
    problem(client.post("/classify", files={"title": (None, "  ")}), 422, "no_input")
    problem(client.post("/classify", files={"video_id": (None, "7")}), 422, "no_input")


def test_wrong_names(client: httpx.Client, clip: bytes) -> None:
    told = problem(client.post("/classify", files={"vidoe": ("x.mp4", clip)}), 400, "unknown_field")
    assert "video, title, overlay_text, video_id" in told["detail"]
    raw = {"Content-Type": "video/mp4"}
    problem(client.post("/classify?titel=x", content=clip, headers=raw), 400, "unknown_field")
    problem(client.post("/classify?title=x&title=y", content=clip, headers=raw), 400, "repeated_field")
    problem(client.post("/classify?title=x", files={"video": ("x.mp4", clip)}), 400, "unknown_field")
    twice = [("title", (None, b"a")), ("title", (None, b"b"))]
    problem(client.post("/classify", files=twice), 400, "repeated_field")
    problem(client.post("/classify", files={"title": (None, "t"), "video_id": (None, "a\nb")}), 400, "invalid_field")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", "image/png"])
def test_wrong_content_types(client: httpx.Client, kind: str) -> None:
    problem(client.post("/classify", content=b"{}", headers={"Content-Type": kind}), 415, "unsupported_content_type")


def test_no_content_type(client: httpx.Client) -> None:
    problem(client.post("/classify", content=b"x"), 415, "unsupported_content_type")


def test_bodies_that_are_not_what_they_say(client: httpx.Client, clip: bytes) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=B"}
    part = b'--B\r\nContent-Disposition: form-data; name="video"; filename="x"\r\n\r\n' + clip
    problem(client.post("/classify", content=part, headers=form), 400, "malformed_body")
    problem(client.post("/classify", content=clip, headers=form), 400, "malformed_body")
    unbounded = {"Content-Type": "multipart/form-data"}
    problem(client.post("/classify", content=part, headers=unbounded), 400, "malformed_body")


def test_text_that_is_not_text_or_too_long(client: httpx.Client) -> None:
    problem(client.post("/classify", files={"title": (None, b"\xff\xfe")}), 422, "invalid_text")
    problem(client.post("/classify", files={"title": (None, b"x" * 70_000)}), 413, "text_too_large")
    raw = {"Content-Type": "video/mp4"}
    problem(client.post("/classify?title=%FF%FE", content=b"x", headers=raw), 422, "invalid_text")


def test_a_body_over_the_limit_is_refused_before_it_is_all_read(service: Running, client: httpx.Client) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port or 80), timeout=10) as connection:
        head = "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: 900000000000\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 1000)
        answer = read_answer(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer

    sent = 0

    def chunks() -> Any:
        nonlocal sent
        for _ in range(400):
            sent += 65_536
            yield b"x" * 65_536

    refused = client.post("/classify", content=chunks(), headers={"Content-Type": "video/mp4"})
    problem(refused, 413, "body_too_large")
    assert "cpfd_inflight_bytes 0.0" in client.get("/metrics").text


def test_a_form_padded_without_end_is_refused(client: httpx.Client) -> None:
    def chunks() -> Any:
        yield b'--B\r\nContent-Disposition: form-data; name="title"\r\n\r\na cat\r\n--B--\r\n'
        for _ in range(100):
            yield b"\r\n" * 32_768

    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    problem(client.post("/classify", content=chunks(), headers=headers), 413, "body_too_large")


def test_paths_and_methods(client: httpx.Client) -> None:
    problem(client.get("/nowhere"), 404, "not_found")
    refused = client.get("/classify")
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "POST"


def test_refusals_are_counted_by_code_and_never_quoted_in_the_log(service: Running, client: httpx.Client) -> None:
    secret = "wording-nobody-may-log"
    client.post("/classify", files={secret: (None, secret)}, headers={"X-Request-Id": "counted"})
    client.get(f"/{secret}?{secret}={secret}")
    counted = 'cpfd_requests_total{arm="none",code="unknown_field",outcome="refused",route="/classify"}'
    assert counted in client.get("/metrics").text
    until(lambda: any(line.get("request_id") == "counted" for line in service.lines()))
    (line,) = [line for line in service.lines() if line.get("request_id") == "counted"]
    assert {"request_id", "arm", "bundle", "stage", "code", "status", "duration_ms"} <= set(line)
    assert (line["code"], line["status"], line["stage"]) == ("unknown_field", 400, "fetch")
    assert secret not in service.log.read_text()
    assert "/readyz" not in service.log.read_text()
