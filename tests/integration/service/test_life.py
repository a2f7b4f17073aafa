"""Start, overload, death of a worker, disconnect, drain."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from contract.bundle import Golden, file_digest, read_bundle, write_golden
from service.cores import idle_time_is_free
from tests.integration.service.conftest import ROOT, Running, Start, environment, launch, read_answer


def until(condition: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def post(service: Running, clip: bytes, **options: Any) -> httpx.Response:
    return httpx.post(
        f"{service.url}/classify", content=clip, headers={"Content-Type": "video/mp4"}, timeout=20, **options
    )


def gauge(service: Running, name: str) -> float:
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[-1])


def inflight(service: Running) -> float:
    return gauge(service, "cpfd_inflight_requests")


def settled(service: Running) -> list[int]:
    """Every decode worker. One that still starts is waited for."""
    until(lambda: gauge(service, "cpfd_decode_workers_alive") == len(service.workers()), seconds=30)
    return service.workers()


def freeze(service: Running) -> list[int]:
    """Stops every decode worker, so that requests stay in flight."""
    pids = settled(service)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def thaw(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_neither_torch_nor_training_is_loaded() -> None:
    code = (
        "import service.app, service.__main__, sys;"
        "assert not {'torch', 'transformers', 'training', 'model_export', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True)


def test_what_was_loaded_is_out_of_the_collectors_sight_before_anybody_is_let_in(start: Start) -> None:
    said = {line["message"]: (number, line) for number, line in enumerate(start().lines())}
    assert said["settled"][1]["objects"] > 10_000
    assert said["settled"][0] < said["ready"][0]


def refused_start(tmp_path: Path, environ: dict[str, str]) -> str:
    """What a service that must not serve says on stderr."""
    process = launch(tmp_path / "log", environ)
    assert process.wait(30) == 1
    text = (tmp_path / "log").read_text()
    assert "Traceback" not in text
    return [line for line in text.splitlines() if not line.startswith("{")][-1]


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "golden.npz", "MODEL_CARD.md", "bundle.json"])
def test_a_tampered_bundle_stops_the_start_with_one_line(tmp_path: Path, bundles: Path, name: str) -> None:
    shutil.copytree(bundles, tmp_path / "bundles")
    tampered = tmp_path / "bundles" / "student" / name
    data = tampered.read_bytes()
    tampered.write_bytes(data[:-2] + bytes([data[-2] ^ 1, data[-1]]))
    line = refused_start(tmp_path, environment(tmp_path / "bundles"))
    assert line.startswith("cpfd: ")
    assert name in line


def test_a_model_that_answers_otherwise_than_recorded_stops_the_start(tmp_path: Path, bundles: Path) -> None:
    shutil.copytree(bundles, tmp_path / "bundles")
    folder = tmp_path / "bundles" / "student"
    golden = read_bundle(folder).golden
    write_golden(folder / "golden.npz", Golden(golden.inputs, {k: v + np.float32(1) for k, v in golden.logits.items()}))
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"]["golden.npz"] = file_digest(folder / "golden.npz")
    (folder / "bundle.json").write_text(json.dumps(manifest))
    assert "golden examples" in refused_start(tmp_path, environment(tmp_path / "bundles"))


def test_an_unknown_setting_stops_the_start(tmp_path: Path, bundles: Path) -> None:
    assert "CPFD_PROT is not a setting" in refused_start(tmp_path, environment(bundles, CPFD_PROT="1"))


def test_overload_is_told_when_to_come_back(start: Start, clip: bytes) -> None:
    service = start(CPFD_ADMISSION__MAX_REQUESTS="2", CPFD_DECODE__WORKERS="1")
    with ThreadPoolExecutor(2) as callers:
        frozen = freeze(service)
        held = [callers.submit(post, service, clip) for _ in range(2)]
        until(lambda: inflight(service) == 2)
        refused = post(service, clip)
        thaw(frozen)
        assert [reply.result().status_code for reply in held] == [200, 200]
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert refused.json()["retryable"]
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert inflight(service) == 0
    assert post(service, clip).status_code == 200


def test_a_worker_killed_from_outside_costs_no_request(start: Start, clip: bytes) -> None:
    service = start(CPFD_DECODE__WORKERS="1", CPFD_DECODE__QUARANTINE_AFTER="1")
    for which in (0, -1):  # the worker that has the clip is one of the two
        with ThreadPoolExecutor(1) as callers:
            frozen = sorted(freeze(service))
            held = callers.submit(post, service, clip)
            until(lambda: "decode" in running_stages(service))
            os.kill(frozen[which], signal.SIGKILL)
            for pid in set(frozen) - {frozen[which]}:
                os.kill(pid, signal.SIGCONT)
            assert held.result().status_code == 200
    assert 'cpfd_decode_worker_restarts_total{reason="crashed"} 0.0' in httpx.get(f"{service.url}/metrics").text


def running_stages(service: Running) -> list[str]:
    """``decode`` once a worker has a clip: nothing waits for one, and there is work of that stage."""
    seconds = gauge(service, 'cpfd_stage_seconds_of_work{stage="decode"}')
    return ["decode"] if seconds > 0 and gauge(service, "cpfd_decode_queue_depth") == 0 else []


def test_equal_uploads_in_flight_are_decoded_once(start: Start, clip: bytes) -> None:
    """64 at once used to cost 64 decodes."""
    service = start(CPFD_DECODE__WORKERS="1")
    with ThreadPoolExecutor(16) as callers:
        frozen = freeze(service)
        held = [
            callers.submit(
                httpx.post,
                f"{service.url}/classify",
                content=clip,
                headers={"Content-Type": "video/mp4", "X-Request-Id": f"caller-{i}"},
                timeout=20,
            )
            for i in range(16)
        ]
        until(lambda: inflight(service) == 16)
        thaw(frozen)
        replies = [reply.result() for reply in held]
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.json()["request_id"] for reply in replies} == {f"caller-{i}" for i in range(16)}
    assert len({json.dumps(reply.json()["tasks"]) for reply in replies}) == 1
    shared = [reply for reply in replies if "shared" in reply.json()["timings_ms"]]
    assert len(shared) == 15
    assert all("decode" not in reply.json()["timings_ms"] for reply in shared)
    assert gauge(service, 'cpfd_stage_duration_seconds_count{stage="decode"}') == 1
    assert sum(gauge(service, f'cpfd_coalesced_total{{arm="{arm}"}}') for arm in ("baseline", "student")) == 15


def test_short_deadlines_end_no_worker_and_do_not_touch_readiness(start: Start, clip: bytes) -> None:
    """60 requests at 20 ms used to end 59 workers, and two such senders to make the service not ready."""
    service = start(CPFD_DECODE__WORKERS="1", CPFD_DEADLINE__MIN_MS="1")
    pids = settled(service)
    ready = []

    def hurry(number: int) -> int:
        headers = {"Content-Type": "video/mp4", "X-Request-Timeout-Ms": str(1 + number % 20)}
        ready.append(httpx.get(f"{service.url}/readyz").status_code)
        status = httpx.post(f"{service.url}/classify", content=clip, headers=headers, timeout=20).status_code
        assert status in (200, 408, 422, 429, 504)
        return status

    with ThreadPoolExecutor(2) as callers:
        statuses = list(callers.map(hurry, range(60)))
    assert set(ready) == {200}
    assert service.workers() == pids
    text = httpx.get(f"{service.url}/metrics").text
    counted = [line for line in text.splitlines() if line.startswith("cpfd_requests_total")]
    expired = [line for line in counted if 'outcome="expired"' in line]
    assert sum(float(line.split()[-1]) for line in expired) == statuses.count(504)
    failed = [line for line in counted if 'outcome="failed"' in line]
    assert sum(float(line.split()[-1]) for line in failed) == 0


def test_a_deadline_is_kept_and_a_client_that_leaves_is_noticed(start: Start, clip: bytes) -> None:
    service = start(CPFD_DECODE__WORKERS="1")
    frozen = freeze(service)
    began = time.monotonic()
    late = httpx.post(
        f"{service.url}/classify",
        content=clip,
        headers={"Content-Type": "video/mp4", "X-Request-Timeout-Ms": "300"},
        timeout=20,
    )
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    assert time.monotonic() - began < 3

    thaw(frozen)
    assert post(service, clip).status_code == 200
    assert freeze(service) == frozen  # nobody was ended for a deadline
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port or 80)) as connection:
        head = f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: {len(clip)}\r\n\r\n"
        connection.sendall(head.encode() + clip)
        until(lambda: "decode" in running_stages(service))
    until(lambda: inflight(service) == 0)
    text = httpx.get(f"{service.url}/metrics").text
    assert 'cpfd_cancelled_total{stage="decode"} 1.0' in text
    # Two decodes were left half done; both are in the stage's time, and nothing is left of them in the gauges.
    assert gauge(service, 'cpfd_stage_duration_seconds_count{stage="decode"}') == 3
    assert gauge(service, "cpfd_queue_seconds_of_work") == 0
    assert gauge(service, "cpfd_decode_queue_depth") == 0


def test_who_mostly_leaves_comes_after_the_others_and_is_answered(start: Start, clip: bytes) -> None:
    service = start(CPFD_DECODE__WORKERS="1", CPFD_ADMISSION__MAX_WASTED_SECONDS="0.1")
    rude = httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2"), base_url=service.url, timeout=20)
    with rude:
        frozen = freeze(service)
        with pytest.raises(httpx.ReadTimeout):
            rude.post("/classify", content=clip, headers={"Content-Type": "video/mp4"}, timeout=1.0)
        until(lambda: inflight(service) == 0)
        thaw(frozen)
        assert post(service, clip).status_code == 200
        assert gauge(service, "cpfd_put_last_total") == 0
        assert rude.post("/classify", content=clip, headers={"Content-Type": "video/mp4"}).status_code == 200
        assert gauge(service, "cpfd_put_last_total") == 1


def test_a_body_that_stalls_is_given_up(start: Start, clip: bytes) -> None:
    service = start(CPFD_BODY__STALL_SECONDS="0.3")
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port or 80), timeout=10) as connection:
        head = f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: {len(clip)}\r\n\r\n"
        connection.sendall(head.encode() + clip[:100])
        answer = read_answer(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"upload_stalled" in answer
    assert inflight(service) == 0


def test_strangers_in_one_batch_get_what_they_would_get_alone(start: Start, clip: bytes) -> None:
    service = start(CPFD_LANES__BUCKETS="[1, 2, 4]", CPFD_LANES__COUNT="1", CPFD_DECODE__WORKERS="1")
    titles = ["a fight", "the park", "news in the park", "you won't believe this cat", ""] * 6

    def scores(title: str) -> Any:
        reply = post(service, clip, params={"title": title, "video_id": "one arm"})
        return {name: task["scores"] for name, task in reply.json()["tasks"].items()}

    alone = {title: scores(title) for title in set(titles)}
    with ThreadPoolExecutor(len(titles)) as callers:
        for title, together in zip(titles, callers.map(scores, titles), strict=True):
            for name, expected in alone[title].items():
                assert together[name] == pytest.approx(expected, abs=1e-5)
    assert alone["a fight"] != alone["the park"]


def test_decord_gives_the_same_verdict(start: Start, clip: bytes) -> None:
    pytest.importorskip("decord")
    tasks = [post(start(CPFD_DECODE__LIMITS__BACKEND=backend), clip).json()["tasks"] for backend in ("pyav", "decord")]
    for task, verdict in tasks[0].items():
        assert verdict["scores"] == pytest.approx(tasks[1][task]["scores"], abs=0.02)


def test_sigterm_answers_what_is_in_flight_refuses_what_is_new_and_exits_0(start: Start, clip: bytes) -> None:
    service = start(CPFD_DECODE__WORKERS="1")
    with httpx.Client(base_url=service.url) as kept, ThreadPoolExecutor(1) as callers:
        assert kept.get("/readyz").status_code == 200
        frozen = freeze(service)
        held = callers.submit(post, service, clip)
        until(lambda: inflight(service) == 1)
        service.process.send_signal(signal.SIGTERM)
        until(lambda: kept.get("/readyz").status_code == 503)
        assert kept.get("/readyz").json() == {"ready": False, "reasons": ["draining"]}
        refused = post(service, clip)
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        assert int(refused.headers["retry-after"]) >= 1
        threading.Timer(0.5, thaw, [frozen]).start()
        assert held.result().status_code == 200
        assert service.process.wait(10) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in frozen)


def test_workers_die_with_a_service_that_is_killed(start: Start) -> None:
    service = start()
    stopped = freeze(service)  # a stopped worker cannot notice by itself
    workers = service.all_workers()
    assert len(workers) == len(stopped) + idle_time_is_free()
    service.process.kill()
    service.process.wait()
    until(lambda: not any(alive(pid) for pid in workers))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
