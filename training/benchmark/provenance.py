"""What a benchmark was made with: hardware, versions, digests, time."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from training.benchmark.schedule import STEPS_FILE
from training.checkpoint import write_json

_CALLS_FILE = "benchmark_calls.json"


def record_call(out: Path, seconds: float, steps: int, jobs: int) -> None:
    """Adds one call's wall time to those of the calls before it, whose work it went on with."""
    path = out / _CALLS_FILE
    calls = json.loads(path.read_text()) if path.exists() else []
    if steps or not calls:
        write_json(path, [*calls, {"seconds": round(seconds, 1), "steps": steps, "jobs": jobs}])


def provenance(out: Path) -> dict[str, Any]:
    """Date, git revision, hardware, versions, and the time that the steps took."""
    path = out / _CALLS_FILE
    calls = json.loads(path.read_text()) if path.exists() else []
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "git_revision": git_revision(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "wall_seconds": round(sum(call["seconds"] for call in calls), 1),
        "calls": calls,
        "step_seconds": _step_seconds(out),
    }


def cpu_model() -> str:
    """The processor's name as the kernel gives it; the platform's word for it elsewhere."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_revision() -> str | None:
    """The commit of this code, ``+changes`` where files differ from it; None outside a checkout."""
    home = Path(__file__).resolve().parents[2]
    try:
        revision = _git(home, "rev-parse", "HEAD")
        changed = _git(home, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision + ("+changes" if changed else "")


def _git(home: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=home, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _step_seconds(out: Path) -> dict[str, float]:
    """Step -> seconds over all trials, of the steps that this benchmark ran."""
    path = out / STEPS_FILE
    total: dict[str, float] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        step = json.loads(line)
        total[step["step"]] = round(total.get(step["step"], 0.0) + step["seconds"], 1)
    return total
