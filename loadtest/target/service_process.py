"""Starts ``python -m service`` on a free loopback port, for the tests that bring their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtest.target.probe import is_ready


class ServiceFailed(RuntimeError):
    """It did not become ready; the message is the last thing it said."""


@contextmanager
def running_service(log: Path, *, patience_s: float = 120.0) -> Iterator[str]:
    """The base URL of a service with the settings of this environment; stopped with SIGTERM at the end.

    Args:
        log: where its stderr goes.
        patience_s: how long it may take to become ready.

    Raises:
        ServiceFailed: it ended, or took longer.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PORT", "HOST", "CPFD_LOG_LEVEL")}
    environment |= {"HOST": "127.0.0.1", "CPFD_HOST": "127.0.0.1", "CPFD_PORT": "0", "PORT": "0"}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"], env=environment, stderr=stderr, start_new_session=True
        )
    try:
        yield _wait_until_ready(process, log, time.monotonic() + patience_s)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, end: float) -> str:
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ServiceFailed(f"the service ended with {process.returncode}: {last_line(log)}")
        url = _listening_at(log)
        if url and is_ready(f"{url}/readyz"):
            return url
        time.sleep(0.1)
    raise ServiceFailed(f"the service did not become ready: {last_line(log)}")


def _listening_at(log: Path) -> str | None:
    """The address in the service's log line ``listening``."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if '"listening"' in line:
            return f"http://127.0.0.1:{json.loads(line)['port']}"
    return None


def last_line(log: Path) -> str:
    """The last line of a log, for an error's message."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"
