"""The running service keeps its log: each answer once, also across kill -9, and nothing without it on a full disk."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.decision_log import Decision, Exposure
from service.experiment.log.files import closed_files
from tests.integration.service.conftest import Start
from tests.integration.service.test_classify import post_form, verdict
from tests.unit.service.experiment.log.records import keys_in

VISIBLE = {"CPFD_DECODE__SANDBOX__OMITTED": '["hidden"]'}
"""Its limits are changed from here."""


def rows(directory: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted(directory.glob("*.sqlite")):
        connection = sqlite3.connect(path)
        connection.row_factory = sqlite3.Row
        found += [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]
        connection.close()
    return found


def test_a_verdict_and_a_refusal_are_in_the_log_when_they_are_told(start: Start, clip: bytes, tmp_path: Path) -> None:
    running = start(CPFD_LOG__DIRECTORY=str(tmp_path / "log"))
    with httpx.Client(base_url=running.url, timeout=20) as client:
        told = verdict(post_form(client, clip, title="a fight in the park", video_id="clip-1"))
        refused = post_form(client, b"no video at all", video_id="clip-2")
        assert refused.status_code == 422
        assert client.post("/classify").status_code == 400  # before any arm: not in the log
        by_exposure = {row["decision_id"]: Exposure.of_row(row) for row in rows(tmp_path / "log", "exposures")}
        ends = [Decision.of_row(row) for row in rows(tmp_path / "log", "decisions")]
    assert [end.code for end in ends] == ["ok", refused.json()["code"]]
    good, bad = ends
    assert (good.decision_id, good.arm, good.bundle_digest) == (
        told["decision_id"],
        told["arm"],
        told["bundle"]["digest"],
    )
    assert {name: task.scores for name, task in good.tasks.items()} == {
        name: task["scores"] for name, task in told["tasks"].items()
    }
    assert good.frame_times_ms == tuple(frame["time_ms"] for frame in told["frames"])
    assert good.modalities == ("video", "text")
    assert min(good.decode_cpu_s, good.model_cpu_s, good.latency_ms, bad.latency_ms) > 0
    assert bad.model_cpu_s == 0
    assert good.bytes > len(clip)
    assert by_exposure.keys() == {good.decision_id, bad.decision_id}
    assert by_exposure[good.decision_id].unit == "video_id"
    assert by_exposure[good.decision_id].time_ms <= good.time_ms
    assert running.stop() == 0
    text = b"".join(path.read_bytes() for path in (tmp_path / "log").iterdir())
    assert b"fight" not in text
    assert b"clip-1" not in text


def test_each_answer_is_in_the_log_exactly_once_across_kill_9(start: Start, clip: bytes, tmp_path: Path) -> None:
    told: list[str] = []

    async def load(url: str, stop: threading.Event, first: int) -> None:
        async def call(number: int) -> None:
            with contextlib.suppress(httpx.HTTPError):
                async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                    while not stop.is_set():
                        number += 100
                        files = {"title": (None, b"a cat"), "video_id": (None, f"{first}-{number}".encode())}
                        reply = await client.post("/classify", files=files)
                        assert reply.status_code == 200
                        told.append(reply.json()["decision_id"])

        await asyncio.gather(*(call(number) for number in range(8)))

    settings = {"CPFD_LOG__DIRECTORY": str(tmp_path / "log"), "CPFD_LOG__ROTATE_BYTES": "65536"}
    for life in range(2):
        running, stop = start(**settings), threading.Event()
        sender = threading.Thread(target=lambda: asyncio.run(load(running.url, stop, life)))  # noqa: B023  joined below
        sender.start()
        while len(told) < 150 * (life + 1):
            time.sleep(0.01)
        running.process.kill()
        running.process.wait()
        stop.set()
        sender.join()
    assert len(told) == len(set(told)) >= 300
    found = keys_in(tmp_path / "log")
    assert set(found.values()) == {1}
    decided = {key[1] for key in found if key[0] == "decisions"}
    assert set(told) <= decided <= {key[1] for key in found if key[0] == "exposures"}
    # Whose connection broke may be in the log, and is then there without having been told: one of each caller at most.
    assert len(decided) - len(told) <= 2 * 8
    assert len({file.writer for file in closed_files(tmp_path / "log")}) == 2


@pytest.mark.parametrize("on_failure", ["refuse", "count"])
def test_on_a_full_disk(start: Start, tmp_path: Path, on_failure: str) -> None:
    running = start(CPFD_LOG__DIRECTORY=str(tmp_path / "log"), CPFD_LOG__ON_FAILURE=on_failure, **VISIBLE)
    pid, endless = running.process.pid, resource.RLIM_INFINITY
    with httpx.Client(base_url=running.url, timeout=20) as client:
        before = verdict(post_form(client, title="a cat"))["decision_id"]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, endless))  # no file grows any more
        reply = post_form(client, title="a cat")
        told = {"feedback_id": "1", "video_id": "v", "task": "violence", "labels": ["calm"], "source": "review"}
        label = client.post("/feedback", json=told)  # refused in either case: its sender can send it again
        assert (label.status_code, label.json()["code"]) == (503, "log_unavailable")
        metrics = client.get("/metrics").text
        assert "cpfd_log_failing 1.0" in metrics
        if on_failure == "refuse":
            assert (reply.status_code, reply.json()["code"], reply.json()["retryable"]) == (
                503,
                "log_unavailable",
                True,
            )
            assert int(reply.headers["retry-after"]) > 0
            ready = client.get("/readyz")
            assert ready.status_code == 503
            assert any(reason.startswith("the decision log cannot be written: ") for reason in ready.json()["reasons"])
            assert 'cpfd_log_records_lost_total{reason="write_failed"} 0.0' in metrics
        else:
            verdict(reply)
            assert client.get("/readyz").status_code == 200
            assert 'cpfd_log_records_lost_total{reason="write_failed"} 2.0' in metrics
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (endless, endless))
        while "cpfd_log_failing 1.0" in client.get("/metrics").text:
            time.sleep(0.05)
        assert client.get("/readyz").status_code == 200
        after = verdict(post_form(client, title="a cat"))["decision_id"]
    assert running.stop() == 0
    decided = {row["decision_id"] for row in rows(tmp_path / "log", "decisions")}
    assert decided == {before, after}
