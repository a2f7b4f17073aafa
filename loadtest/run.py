"""One run: Locust in a process of its own (gevent rewrites the sockets there, and only there), then the results."""

from __future__ import annotations

import datetime
import ipaddress
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from loadtest.measurement.samples import Record
from loadtest.objectives import Objectives
from loadtest.report.files import write_results
from loadtest.run_file import RunFile
from loadtest.shapes import Plan
from loadtest.target.service_process import last_line
from loadtest.verdict.results import Results, make_results

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
LOG = "locust.log"


class RunFailed(RuntimeError):
    """Locust did not bring back a record."""


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine, in words or as an address."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run_locust(run: RunFile, out: Path, extra: Sequence[str] = ()) -> int:
    """Writes ``out/run.json`` and runs Locust with it; returns Locust's exit code.

    Args:
        run: the run.
        out: where its files go; Locust's own output goes to ``locust.log`` there.
        extra: more of Locust's arguments, such as ``--master``.
    """
    run_path = out / "run.json"
    run_path.write_text(run.model_dump_json(indent=1), encoding="utf-8")
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--run-file", str(run_path), "--headless"]
    command += ["--only-summary", "--exit-code-on-error", "0", *extra]
    paths = [str(LOCUSTFILE.parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with (out / LOG).open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    with _passing_signals_to(process):
        return process.wait()


@contextmanager
def _passing_signals_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Told to stop, we tell Locust, which writes what it has; then that is judged."""
    kept = {sig: signal.signal(sig, lambda *_: process.terminate()) for sig in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for sig, handler in kept.items():
            signal.signal(sig, handler)


def run_and_judge(
    run: RunFile, objectives: Objectives, out: Path, *, about: dict[str, str], extra: Sequence[str] = ()
) -> Results:
    """Runs, judges, and writes results.json, junit.xml and report.html into ``out``.

    Raises:
        RunFailed: Locust ended without a record.
        ObjectivesError: the objectives judge nothing of the plan.
    """
    objectives.judges(run.plan)
    run.record.unlink(missing_ok=True)
    began = datetime.datetime.now(datetime.UTC)
    code = run_locust(run, out, extra)
    if not run.record.is_file():
        raise RunFailed(f"Locust ended with {code} and left no record: {last_line(out / LOG)}")
    record = Record.model_validate_json(run.record.read_text(encoding="utf-8"))
    results = make_results(run.plan, objectives, record, _about(run.plan, began) | about)
    write_results(results, out)
    return results


def _about(plan: Plan, began: datetime.datetime) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "began": began.isoformat(timespec="seconds"),
        "planned": f"{plan.total_s:g} s",
        "generator": f"{cores} cores, {platform.machine()}, Python {platform.python_version()}",
    }
