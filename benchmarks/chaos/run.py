"""One scenario: honest callers alone, under the attack, and alone again."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos.honest import HOST, Sample, Tally, call, learnt
from benchmarks.chaos.registry import Scenario
from benchmarks.chaos.service import Service, started

_LATE_S = 60.0
"""How long an attacker may take to end after its time."""


@dataclass(frozen=True)
class Plan:
    """What all scenarios of a run share.

    Attributes:
        bundle: what the service serves.
        samples: what honest callers send.
        clip: a file that the attacker may send.
        callers: honest ones.
        pause_s: between one answer and the next request of each of them.
        seconds: of the attack, and of the time alone around it.
        folder: for logs.
    """

    bundle: Path
    samples: list[Sample]
    clip: Path
    callers: int
    pause_s: float
    seconds: float
    folder: Path


def run(scenario: Scenario, plan: Plan) -> dict[str, Any]:
    """The scenario's figures."""
    with started(scenario, plan.bundle, plan.folder / f"{scenario.name}.log") as service:
        samples = learnt(service.port, plan.samples)
        _alone(service, plan, samples, plan.seconds / 4)  # what is slow once, such as a first import, is no figure
        alone = _alone(service, plan, samples, plan.seconds / 2)
        before = service.usage()
        attacked, attack = _attacked(scenario, plan, service, samples)
        after: dict[str, float] = {}
        dropped = 0.0
        if scenario.survives and not service.ended:
            again = _alone(service, plan, samples, plan.seconds / 2)
            alone.latencies_s += again.latencies_s
            for what in ("lost", "crossed", "untyped"):
                setattr(attacked, what, getattr(attacked, what) + getattr(again, what))
            after, dropped = service.usage(), service.metric("cpfd_log_lines_dropped_total")
        ended = service.ended
    alone_p99, p99 = alone.percentile_ms(0.99), attacked.percentile_ms(0.99)
    return {
        "name": scenario.name,
        "says": scenario.says,
        "honest": attacked.counts(),
        "p99_alone_ms": round(alone_p99, 1),
        "p99_ratio": round(p99 / alone_p99, 3),
        "attack": attack,
        "before": before,
        "after": after,
        "log_lines_dropped": dropped,
        "exit": service.process.returncode,
        "as_meant": ended != scenario.survives and service.process.returncode == 0,
    }


def _alone(service: Service, plan: Plan, samples: list[Sample], seconds: float) -> Tally:
    end = time.monotonic() + seconds
    return call(service.port, samples, plan.callers, plan.pause_s, lambda: time.monotonic() >= end)


def _attacked(scenario: Scenario, plan: Plan, service: Service, samples: list[Sample]) -> tuple[Tally, dict[str, int]]:
    command = [sys.executable, "-m", "benchmarks.chaos.attacker", scenario.name, HOST, str(service.port)]
    command += [str(service.process.pid), str(plan.clip), str(plan.seconds)]
    attacker = subprocess.Popen(command, stdout=subprocess.PIPE)
    over = threading.Event()

    def wait() -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            attacker.wait(plan.seconds + _LATE_S)
        over.set()

    watch = threading.Thread(target=wait)
    watch.start()
    try:
        tally = call(service.port, samples, plan.callers, plan.pause_s, lambda: over.is_set() or service.ended)
        out, _ = attacker.communicate(timeout=plan.seconds + _LATE_S)
    finally:
        attacker.kill()
        watch.join()
    return tally, json.loads(out)
