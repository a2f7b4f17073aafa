"""A started service, and what it shows of itself."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil

from benchmarks.chaos.registry import Scenario

HOST = "127.0.0.1"
_START_S = 90.0
_STOP_S = 40.0
_PIPE_BYTES = 4096


class Service:
    """A running ``python -m service``, or what stands for it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; status 0 where there was no answer."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """The sum over a metric's labels."""
        found = [line.rpartition(" ") for line in self.get("/metrics")[1].splitlines() if not line.startswith("#")]
        return sum(float(value) for series, _, value in found if series.partition("{")[0] == name)

    def usage(self) -> dict[str, float]:
        """Memory in MB and open files, of the service's own process."""
        process = psutil.Process(self.process.pid)
        return {"rss_mb": round(process.memory_info().rss / 1e6, 1), "descriptors": process.num_fds()}

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None


@contextlib.contextmanager
def started(scenario: Scenario, bundle: Path, log: Path) -> Iterator[Service]:
    """The service that a scenario asks for, ready; it is stopped afterwards."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        port = int(found.getsockname()[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CPFD_", "PORT", "HOST"))}
    settings = {
        "CPFD_ARMS": json.dumps([{"name": "student", "bundle": str(bundle), "weight": 1}]),
        "CPFD_DECODE__SANDBOX__OMITTED": '["hidden"]',  # its open files are counted from here
        "PORT": str(port),
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", scenario.module],
            env=kept | settings | dict(scenario.settings),
            stderr=file if scenario.stderr == "file" else subprocess.PIPE,
            preexec_fn=lambda: _limit(scenario.open_files),
        )
    if process.stderr is not None:
        _shrink(process.stderr)
    service = Service(process, port)
    try:
        end = time.monotonic() + _START_S
        while service.get("/readyz")[0] != 200:
            if service.ended or time.monotonic() > end:
                raise SystemExit(f"the service did not become ready: {log.read_text()[-500:]}")
            time.sleep(0.1)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _limit(open_files: int | None) -> None:
    if open_files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))


def _shrink(pipe: IO[bytes]) -> None:
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
