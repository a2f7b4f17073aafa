"""The chaos benchmark's own bookkeeping: what it counts, and what it calls a fault."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from benchmarks.chaos.honest import Sample, Tally, call
from benchmarks.chaos.registry import FAMILIES, Scenario, scenarios
from benchmarks.chaos.report import faults, markdown

TASKS = {"violence": {"scores": {"calm": 0.75, "violent": 0.25}}}
EXPECTED = {"violence": {"calm": 0.75, "violent": 0.25}}


def quiet(**options: Any) -> Scenario:
    return Scenario("quiet", "nothing", lambda _: Counter(), **options)


def result(
    attack: dict[str, int] | None = None, ratio: float = 1.2, as_meant: bool = True, **honest: int
) -> dict[str, Any]:
    counts = {"requests": 100, "verdicts": 100, "lost": 0, "crossed": 0, "untyped": 0} | honest
    return {"honest": counts, "p99_ratio": ratio, "attack": attack or {}, "as_meant": as_meant, "exit": 0}


@pytest.mark.parametrize(
    ("scenario", "found", "told"),
    [
        (quiet(), result(), []),
        (quiet(), result(lost=1, crossed=2, untyped=3), ["1 lost", "2 crossed", "3 untyped"]),
        (quiet(), result(ratio=1.6), ["p99 x 1.60"]),
        (quiet(), result(verdicts=94), ["94 % verdicts"]),
        (quiet(survives=False), result(verdicts=50), []),
        (quiet(), result(verdicts=0, ratio=math.nan), ["0 % verdicts"]),
        (quiet(), result(as_meant=False), ["exit 0"]),
        (quiet(never=("end",)), result({"end EPIPE": 4, "answered 200": 5}), ["end EPIPE: 4"]),
    ],
)
def test_what_is_a_fault(scenario: Scenario, found: dict[str, Any], told: list[str]) -> None:
    assert faults(scenario, found, max_ratio=1.5) == told


def test_every_family_is_in_the_registry_and_every_scenario_says_what_happens() -> None:
    found = scenarios()
    assert found == scenarios()
    assert {made.attack.__module__.rpartition(".")[2] for made in found.values()} == set(FAMILIES)
    assert all(made.says for made in found.values())
    assert {"slow-uploads", "trailers", "endless-bodies", "disconnects", "descriptors", "stderr", "sigterm"} <= set(
        found
    )


class Script(BaseHTTPRequestHandler):
    """Answers by the body it is sent."""

    def do_POST(self) -> None:
        told = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if told == "lose":
            return
        own = self.headers["X-Request-Id"] if told != "cross" else "another"
        scores = TASKS if told != "mistake" else {"violence": {"scores": {"calm": 0.5, "violent": 0.5}}}
        reply: Any = {"request_id": own, "tasks": scores}
        if told == "shed":
            reply = {"code": "overloaded", "stage": "admission"}
        elif told == "break":
            reply = "no problem"
        body = json.dumps(reply).encode()
        self.send_response(429 if told in ("shed", "break") else 200)
        self.send_header("X-Request-Id", own)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ("answer", {"verdicts": 1}),
        ("cross", {"verdicts": 1, "crossed": 1}),
        ("mistake", {"verdicts": 1, "crossed": 1}),
        ("shed", {"errors": {"overloaded": 1}}),
        ("break", {"untyped": 1}),
        ("lose", {"lost": 1}),
    ],
)
def test_what_an_honest_caller_counts(port: int, told: str, counted: dict[str, Any]) -> None:
    rounds = iter((False, True))
    tally = call(port, [Sample(told.encode(), "x", EXPECTED)], 1, 0.0, lambda: next(rounds))
    counts = tally.counts()
    expected = {"requests": 1, "verdicts": 0, "errors": {}, "lost": 0, "crossed": 0, "untyped": 0, "not_taken": 0}
    assert {name: counts[name] for name in expected} == expected | counted


def test_a_connection_that_is_refused_is_no_request() -> None:
    rounds = iter((False, True))
    tally = call(1, [Sample(b"", "x")], 1, 0.0, lambda: next(rounds))
    assert (tally.requests, tally.not_taken) == (0, 1)


def test_the_document_holds_a_row_for_each_scenario() -> None:
    tally = Tally(requests=3, verdicts=3, latencies_s=[0.1, 0.2, 0.3])
    made = {"name": "quiet", "says": "nothing", "honest": tally.counts(), "p99_alone_ms": 200.0, "p99_ratio": 1.5}
    made |= {"attack": {"answered 200": 1}, "before": {"rss_mb": 1.0, "descriptors": 2}, "after": {}, "faults": []}
    head = {"date": "2026-11-25", "machine": "m", "honest": "h", "bounds": "b", "scenarios": [made]}
    text = markdown(head)
    assert "| quiet | 3 | 3 | 0 | 0 | 0 | 200.0 | 300.0 | 200.0 | 1.5 | 1 | 2 | held |" in text
    assert "- **quiet**: nothing. answered 200 1." in text
