"""Honest callers: each sends clips it has sent before, so that it knows a verdict that is not its own."""

from __future__ import annotations

import http.client
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
_TOLERANCE = 1e-3
_PATIENCE_S = 60


@dataclass
class Tally:
    """What honest callers got. ``latencies_s`` are those of verdicts.

    Attributes:
        lost: requests that were sent and never answered.
        crossed: answers that belong to another request.
        untyped: refusals without a problem document.
        not_taken: connections that were refused before a request was sent.
    """

    requests: int = 0
    verdicts: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    crossed: int = 0
    untyped: int = 0
    not_taken: int = 0
    latencies_s: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def percentile_ms(self, share: float) -> float:
        """A percentile of the latencies in ms; NaN without any."""
        if not self.latencies_s:
            return float("nan")
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def counts(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "verdicts": self.verdicts,
            "errors": dict(self.errors),
            "lost": self.lost,
            "crossed": self.crossed,
            "untyped": self.untyped,
            "not_taken": self.not_taken,
            "p50_ms": round(self.percentile_ms(0.5), 1),
            "p99_ms": round(self.percentile_ms(0.99), 1),
        }


@dataclass(frozen=True)
class Sample:
    """A body, and the scores it must be answered with."""

    body: bytes
    content_type: str
    expected: Any = None


def form(clip: bytes, title: str) -> Sample:
    """A form with a clip and a title."""
    mark = uuid.uuid4().hex
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="title"\r\n\r\n{title}\r\n'
        f'--{mark}\r\nContent-Disposition: form-data; name="video"; filename="clip.mp4"\r\n'
        "Content-Type: video/mp4\r\n\r\n"
    )
    return Sample(head.encode() + clip + f"\r\n--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}")


def learnt(port: int, samples: list[Sample]) -> list[Sample]:
    """The samples with what the service answers each of them while nobody else is there."""
    found = []
    for sample in samples:
        status, reply, _ = _ask(port, sample, uuid.uuid4().hex)
        if status != 200:
            raise SystemExit(f"the service refuses an honest clip: {reply}")
        found.append(Sample(sample.body, sample.content_type, _scores(reply)))
    return found


def call(port: int, samples: list[Sample], callers: int, pause_s: float, over: Callable[[], bool]) -> Tally:
    """``callers`` callers, each asking, pausing and asking again until ``over``."""
    tally = Tally()

    def caller(number: int) -> None:
        turn = number
        while not over():
            _once(port, samples[turn % len(samples)], tally)
            turn += 1
            time.sleep(pause_s)

    with ThreadPoolExecutor(callers) as pool:
        for done in [pool.submit(caller, number) for number in range(callers)]:
            done.result()
    return tally


def _once(port: int, sample: Sample, tally: Tally) -> None:
    request_id = uuid.uuid4().hex
    began = time.perf_counter()
    try:
        status, reply, echoed = _ask(port, sample, request_id)
    except ConnectionRefusedError:
        with tally.lock:
            tally.not_taken += 1
        return
    except (OSError, http.client.HTTPException):
        with tally.lock:
            tally.requests += 1
            tally.lost += 1
        return
    took = time.perf_counter() - began
    with tally.lock:
        tally.requests += 1
        if status == 200:
            tally.verdicts += 1
            tally.latencies_s.append(took)
            tally.crossed += reply["request_id"] != request_id or not _same(_scores(reply), sample.expected)
        elif "code" in reply:
            tally.errors[str(reply["code"])] += 1
            # Who has no place is answered before its request is read, and under an id of the service's own.
            tally.crossed += echoed != request_id and reply["stage"] not in ("connection", "head")
        else:
            tally.untyped += 1


def _ask(port: int, sample: Sample, request_id: str) -> tuple[int, dict[str, Any], str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=_PATIENCE_S)
    try:
        headers = {"Content-Type": sample.content_type, "X-Request-Id": request_id}
        connection.request("POST", "/classify", sample.body, headers)
        reply = connection.getresponse()
        text = reply.read()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = {}
        return reply.status, parsed if isinstance(parsed, dict) else {}, reply.headers.get("X-Request-Id", "")
    finally:
        connection.close()


def _scores(reply: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {name: task["scores"] for name, task in reply["tasks"].items()}


def _same(found: dict[str, dict[str, float]], expected: dict[str, dict[str, float]]) -> bool:
    return found.keys() == expected.keys() and all(
        abs(found[task][label] - score) <= _TOLERANCE for task in expected for label, score in expected[task].items()
    )
