"""The service as it is started: hidden from its own user, with confined workers, and it says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.integration.service.conftest import ROOT, Start, environment, wait_until_ready

UNPRIVILEGED = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
"""Root looks into every process, unless it has no capabilities."""


def can_be_looked_into(pid: int) -> bool:
    """Whether a process of the same user reads the environment of ``pid``."""
    return subprocess.run([*UNPRIVILEGED, "cat", f"/proc/{pid}/environ"], capture_output=True).returncode == 0


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="needs setpriv to stop being root")
@pytest.mark.parametrize(("omitted", "seen"), [("[]", False), ('["hidden"]', True)])
def test_the_service_and_its_workers_are_hidden(tmp_path: Path, bundles: Path, omitted: str, seen: bool) -> None:
    settings = environment(bundles, CPFD_DECODE__SANDBOX__OMITTED=omitted, CPFD_DECODE__WORKERS="1")
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        command = [*UNPRIVILEGED, sys.executable, "-m", "service"]
        process = subprocess.Popen(command, cwd=ROOT, env=settings, stderr=stderr)
    try:
        running = wait_until_ready(process, log)
        assert can_be_looked_into(running.process.pid) is seen
    finally:
        process.kill()
        process.wait()


def test_the_start_says_what_workers_run_under(start: Start) -> None:
    service = start(CPFD_DECODE__SANDBOX__OMITTED='["landlock"]')
    told = [line for line in service.lines() if line["message"] == "decode workers run without landlock"]
    assert len(told) == 1
    assert told[0]["lacking"]["landlock"] == "omitted by the settings"
    assert {"hidden", "capabilities", "no_new_privs"} <= set(told[0]["in_force"])
    shown = httpx.get(f"{service.url}/metrics").text
    assert 'cpfd_decode_protection{protection="landlock"} 0.0' in shown
    assert 'cpfd_decode_protection{protection="no_new_privs"} 1.0' in shown
