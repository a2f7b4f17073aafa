"""What is refused before any route sees it is counted, once, under its code."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from service import head_bounds
from service.head_bounds import counted_in
from service.metrics import Metrics


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no route may see the request")


async def talk(metrics: Metrics, sent: list[bytes], wait_s: float = 0.0) -> bytes:
    config = uvicorn.Config(nobody, http=counted_in(metrics), log_config=None)
    config.load()
    made = config.http_protocol_class
    protocol = made(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]
    wire = Wire()
    protocol.connection_made(wire)
    for data in sent:
        protocol.data_received(data)  # type: ignore[attr-defined]
    await asyncio.sleep(wait_s)
    protocol.connection_lost(None)
    return wire.written


def refused(metrics: Metrics) -> dict[str, float]:
    """Code -> count, of the failures of requests; all must be refusals of no arm, on no route of ours."""
    found: dict[str, float] = {}
    for sample in metrics.requests.collect()[0].samples:
        if sample.name == "cpfd_requests_total":
            rest = {name: value for name, value in sample.labels.items() if name != "code"}
            assert rest == {"route": "other", "arm": "none", "outcome": "refused"}
            found[sample.labels["code"]] = sample.value
    return found


START = b"GET /classify HTTP/1.1\r\nhost: a\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ([START, b"x-a: " + b"a" * head_bounds.MAX_HEAD_BYTES], 431, "head_too_large"),
        ([START], 408, "head_stalled"),
        ([b"\x16\x03\x01 hello\r\n\r\n"], 400, "bad_request"),
    ],
)
def test_a_refusal_is_answered_and_counted_once(
    monkeypatch: pytest.MonkeyPatch, sent: list[bytes], status: int, code: str
) -> None:
    monkeypatch.setattr(head_bounds, "HEAD_SECONDS", 0.05)
    metrics = Metrics()
    answer = asyncio.run(talk(metrics, sent, wait_s=0.15))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert f'"code":"{code}"'.encode() in answer
    assert refused(metrics) == {code: 1.0}


def test_a_sender_that_left_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_bounds, "HEAD_SECONDS", 60.0)
    metrics = Metrics()
    assert asyncio.run(talk(metrics, [START])) == b""
    assert refused(metrics) == {}
