"""``make endurance``: 10,000 requests at saturation. Memory and descriptors must not grow after the first thousand.

Memory is proportional (shared pages are counted once), of the service and of its decode workers apart: workers are
replaced on purpose, and a young one holds less. Each figure is the median of several readings. Run no other service
beside it: pages of libraries and bundles are divided among all who map them, so memory seems to grow when it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.chaos.registry import Scenario
from benchmarks.chaos.service import Service, started
from benchmarks.clip import write_clip
from benchmarks.document import hand_over, when_and_where
from benchmarks.offered import Answer, Clip, post

_READINGS = 5
_WARM = 1000


def usage(service: Service) -> dict[str, float]:
    """Memory in MB and open files: medians of several readings."""
    found: list[dict[str, float]] = []
    for _ in range(_READINGS):
        process = psutil.Process(service.process.pid)
        workers = [child.memory_full_info().pss / 1e6 for child in process.children(recursive=True)]
        found.append(
            {
                "service_mb": process.memory_full_info().pss / 1e6,
                "worker_mb": sum(workers) / max(1, len(workers)),
                "descriptors": float(process.num_fds()),
            }
        )
        time.sleep(0.1)
    return {name: round(median(one[name] for one in found), 1) for name in found[0]}


async def send(port: int, clip: Clip, count: int, callers: int) -> list[Answer]:
    """``count`` requests by ``callers``, each sending the next as soon as it is answered."""
    found: list[Answer] = []
    left, began = iter(range(count)), time.monotonic()

    async def caller() -> None:
        for _ in left:
            found.append(await post(port, clip, clip.body(), began, deadline_s=60.0))

    await asyncio.gather(*(caller() for _ in range(callers)))
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """What the service holds after every thousand requests, and what it answered."""
    scenario = Scenario("endurance", "many requests", lambda target: Counter())
    readings: list[dict[str, float]] = []
    codes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, seconds=1, width=160, height=120, kbit_s=200)
        clip = Clip("small", path.read_bytes())
        with started(scenario, options.bundle, Path(folder) / "log") as service:
            for _ in range(0, options.count, _WARM):
                codes.update(a.code for a in asyncio.run(send(service.port, clip, _WARM, options.callers)))
                readings.append({"requests": float(sum(codes.values())), **usage(service)})
                sys.stderr.write(f"{readings[-1]}\n")
    return {
        **when_and_where(),
        "callers": options.callers,
        "answers": dict(codes),
        "readings": readings,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    readings = result["readings"]
    first = readings[0]
    lines = [
        f"{result['date']}; {result['machine']}; {result['callers']} callers, each sending again once it is answered. "
        f"Answers: {'; '.join(f'{n} {code}' for code, n in sorted(result['answers'].items()))}.",
        "",
        "| after requests | service, MB | a worker, MB | descriptors | service, of the first | worker, of the first |",
        "|---|---|---|---|---|---|",
    ]
    for one in readings:
        ratios = [one[key] / first[key] for key in ("service_mb", "worker_mb")]
        lines.append(
            f"| {one['requests']:.0f} | {one['service_mb']:.0f} | {one['worker_mb']:.0f} | {one['descriptors']:.0f} "
            f"| {ratios[0]:.3f} | {ratios[1]:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cpfd-student"))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--out", type=Path, help="folder for DATE-endurance.json and .md; none: stdout only")
    options = parser.parse_args()
    result = run(options)
    hand_over(result, "endurance", f"# `make endurance`\n\n{table(result)}", options.out)


if __name__ == "__main__":
    main()
