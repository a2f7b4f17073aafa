"""A real ``python -m service`` on loopback, over synthetic bundles."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.decoding.worker import NAME
from tests.synthetic_bundle import write_clip, write_synthetic_bundle

ROOT = Path(__file__).parents[3]


def _name_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # gone meanwhile
        return ""


@dataclass
class Running:
    """A started service: its address, process and log."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def workers(self) -> list[int]:
        """Process ids of its decode workers, but for the one that is there for those who come last."""
        return [pid for pid in self.all_workers() if os.sched_getscheduler(pid) != os.SCHED_IDLE]

    def all_workers(self) -> list[int]:
        """Process ids of its decode workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if _name_of(pid) == NAME]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles ``baseline`` and ``student``."""
    folder = tmp_path_factory.mktemp("bundles")
    for seed, name in enumerate(("baseline", "student")):
        write_synthetic_bundle(folder / name, name=f"synthetic-{name}", seed=seed)
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4").read_bytes()


def environment(bundles: Path, **settings: str) -> dict[str, str]:
    arms = [{"name": name, "bundle": str(bundles / name), "weight": 50} for name in ("baseline", "student")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CPFD_", "PORT", "HOST"))}
    return kept | {"CPFD_ARMS": json.dumps(arms), "PORT": "0", "CPFD_DRAIN__NOTICE_SECONDS": "0.3"} | settings


def launch(log: Path, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as stderr:
        return subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, env=environ, stderr=stderr)


def read_answer(connection: socket.socket) -> bytes:
    """An HTTP answer with a JSON body, however many packets it came in."""
    answer = b""
    while not answer.endswith(b"}"):
        more = connection.recv(65_536)
        assert more, f"the connection was closed after {answer!r}"
        answer += more
    return answer


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, bundles: Path) -> Iterator[Start]:
    """Starts services that end with the test."""
    started: list[Running] = []

    def begin(**settings: str) -> Running:
        log = tmp_path / f"log{len(started)}"
        running = wait_until_ready(launch(log, environment(bundles, **settings)), log)
        started.append(running)
        return running

    yield begin
    for running in started:
        running.process.kill()
        running.process.wait()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Running]:
    """One service for all tests that leave it as it was."""
    log = tmp_path_factory.mktemp("service") / "log"
    limits = {"CPFD_BODY__MAX_MEDIA_BYTES": "2000000", "CPFD_DECODE__LIMITS__MAX_DURATION_S": "5"}
    running = wait_until_ready(launch(log, environment(bundles, **limits)), log)
    yield running
    assert running.stop() == 0


@pytest.fixture
def client(service: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=20) as made:
        yield made


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> Running:
    """The service once it is ready; one that does not become so is ended here, since no fixture holds it yet."""
    try:
        for _ in range(1200):
            assert process.poll() is None, log.read_text()
            running = Running("", process, log)
            ports = [line["port"] for line in running.lines() if line["message"] == "listening"]
            if ports:
                running.url = f"http://127.0.0.1:{ports[0]}"
                if httpx.get(f"{running.url}/readyz").status_code == 200:
                    return running
            time.sleep(0.05)
        raise AssertionError(f"not ready: {log.read_text()}")
    except BaseException:
        process.kill()
        process.wait()
        raise
