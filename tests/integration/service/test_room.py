"""Where there is no room left (places, descriptors, readers of stderr): said, answered, and nobody else is harmed."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from service.stages.decode import SPARE_PROCESSES
from tests.integration.service.conftest import ROOT, Running, Start, environment, wait_until_ready
from tests.integration.service.test_life import until
from tests.integration.service.wire import connect, ends, many, metric, post_head, read_answer

GET = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"
_PIPE_BYTES = 4096


def test_idle_connections_keep_nobody_out(start: Start) -> None:
    service = start(CPFD_CONNECTION__MAX_TOTAL="8")
    with many(service, 30) as idle:
        for _ in range(5):
            assert httpx.get(f"{service.url}/readyz").status_code == 200
        assert metric(service, "cpfd_connections") <= 8
        assert ends(idle[0])
        assert metric(service, 'cpfd_connections_ended_total{reason="gave_way"}') >= 22


def test_one_peer_has_its_own_bound_and_a_kept_connection_of_it_gives_way(start: Start) -> None:
    service = start(CPFD_CONNECTION__MAX_PER_PEER="2")
    with connect(service) as first, connect(service) as second:
        for connection in (first, second):
            connection.sendall(GET)
            assert read_answer(connection) is not None
        with connect(service) as third:
            third.sendall(GET)
            assert read_answer(third) is not None
            assert ends(first)
            second.sendall(GET)
            assert read_answer(second) is not None


def test_where_all_are_at_work_a_new_connection_is_told_to_come_back(start: Start) -> None:
    service = start(CPFD_CONNECTION__MAX_TOTAL="4")
    with many(service, 4) as working:
        for connection in working:
            connection.sendall(post_head(100_000, Expect="100-continue"))
            assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        with connect(service) as fifth:
            fifth.sendall(GET)
            answer = read_answer(fifth)
            assert answer is not None
            assert (answer.status, answer.code) == (503, "too_many_connections")
            assert int(answer.headers["retry-after"]) >= 1
            assert ends(fifth)
    until(lambda: httpx.get(f"{service.url}/readyz").status_code == 200)
    assert metric(service, 'cpfd_connections_ended_total{reason="turned_away"}') >= 1
    counted = 'cpfd_requests_total{arm="none",code="too_many_connections",outcome="shed",route="other"}'
    assert metric(service, counted) >= 1


def test_more_idle_connections_than_files_may_be_open(bundles: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"],
            cwd=ROOT,
            env=environment(bundles),
            stderr=stderr,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
        )
    try:
        service = wait_until_ready(process, log)
        assert [line for line in service.lines() if "the limit of open files allows" in line["message"]]
        with many(service, 300):
            for _ in range(5):
                assert httpx.get(f"{service.url}/readyz").status_code == 200
        assert service.stop() == 0
    finally:
        process.kill()
        process.wait()


def test_running_out_of_descriptors_is_logged_and_answered(start: Start) -> None:
    # Its files are counted from here, once no worker is being started any more.
    service = start(CPFD_DECODE__SANDBOX__OMITTED='["hidden"]', CPFD_DECODE__WORKERS="1")
    until(lambda: metric(service, "cpfd_decode_workers_alive") == 1 + SPARE_PROCESSES, seconds=60)
    files = Path(f"/proc/{service.process.pid}/fd")
    with connect(service) as working:
        working.sendall(post_head(100_000) + b"x" * 50)
        until(lambda: metric(service, "cpfd_uploads") == 1)
        until(lambda: metric(service, "cpfd_connections") == 2)  # its own, and the one that asks
        bounds = resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)
        full = max(int(file.name) for file in files.iterdir())
        used = len(list(files.iterdir()))
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (full + 1, bounds[1]))
        with many(service, full + 1 - used + 16) as more:
            for connection in more[-3:]:
                connection.sendall(GET)
            answers = [read_answer(connection) for connection in more[-3:]]
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, bounds)
    assert all(answers)
    until(lambda: any("out of descriptors" in line["message"] for line in service.lines()))
    assert httpx.get(f"{service.url}/readyz").status_code == 200


def test_a_stderr_that_nobody_reads_stops_nothing(bundles: Path) -> None:
    settings = environment(bundles, CPFD_LOG_QUEUE_LINES="20")
    with subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, env=settings, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            seen = b""
            while b'"ready"' not in seen:
                seen += os.read(process.stderr.fileno(), 65_536)
            port = int(re.search(rb'"port": (\d+)', seen)[1])  # type: ignore[index]
            service = Running(f"http://127.0.0.1:{port}", process, Path(os.devnull))
            with httpx.Client(base_url=service.url, timeout=10) as client:
                assert {client.get(f"/nowhere/{i}").status_code for i in range(200)} == {404}
            assert metric(service, "cpfd_log_lines_dropped_total") > 100
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
        finally:
            process.kill()
