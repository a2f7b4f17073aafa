"""What a benchmark was made with: hardware, versions, digests, time."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from training.atomic_write import write_json

STEPS_FILE = "steps.jsonl"
"""One line for each step that was run: trial, step, seconds (of a method: with the teacher it was first to ask for),
processes at work, revision of the code."""
UNRECORDED = "unrecorded"
_CALLS_FILE = "benchmark_calls.json"


def record_call(out: Path, seconds: float, steps: int, jobs: int) -> None:
    """Adds one call's wall time to those of the calls before it, whose work it went on with."""
    path = out / _CALLS_FILE
    calls = json.loads(path.read_text()) if path.exists() else []
    if steps or not calls:
        write_json(path, [*calls, {"seconds": round(seconds, 1), "steps": steps, "jobs": jobs}])


def record_step(out: Path, trial: str, step: str, *, seconds: float, jobs: int) -> None:
    """Adds a line to the steps' file: one short write, so that lines of several processes do not mix."""
    revision = git_revision()
    line = {"trial": trial, "step": step, "seconds": round(seconds, 1), "jobs": jobs, "git_revision": revision}
    with (out / STEPS_FILE).open("a") as file:
        file.write(json.dumps(line) + "\n")


def provenance(out: Path) -> dict[str, Any]:
    """Date, git revisions (of what writes this, and of what trained), hardware, versions, and the steps' time."""
    steps = _steps(out)
    path = out / _CALLS_FILE
    calls = json.loads(path.read_text()) if path.exists() else []
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "git_revision": git_revision(),
        "trained_by": sorted({step.get("git_revision") or UNRECORDED for step in steps}),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "wall_seconds": round(sum(call["seconds"] for call in calls), 1),
        "calls": calls,
        "step_seconds": _step_seconds(steps),
    }


def cpu_model() -> str:
    """The processor's name as the kernel gives it; the platform's word for it elsewhere."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def git_revision() -> str | None:
    """The commit of this code, ``+changes`` where files differ from it; None outside a checkout. Asked once."""
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


def _steps(out: Path) -> list[dict[str, Any]]:
    path = out / STEPS_FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _step_seconds(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Step -> seconds over all trials, of the steps that this benchmark ran."""
    total: dict[str, float] = {}
    for step in steps:
        total[step["step"]] = round(total.get(step["step"], 0.0) + step["seconds"], 1)
    return total
