"""``make bench-service``: what the service does at several times its capacity, beside another checkout in the same run.

Mixed clips in an open loop; half of the requests have tight deadlines; some of those who are refused come back as
told. Goodput is counted in work: a verdict within its deadline is worth what its clip takes alone, so that
nobody looks good by answering small clips only. The callers run on the same cores; what they take of them is told, and
what the service takes: goodput that is lost with idle cores is lost by admission, with busy ones by wasted work.
JSON and a table into --out, the table on stderr too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.clip import write_clip
from benchmarks.document import hand_over, when_and_where
from benchmarks.offered import Answer, Clip, Load, closed_loop, open_loop, post
from benchmarks.serve import free_port, wait_ready

_MIX: dict[str, dict[str, int]] = {
    "240p, 2 s": {"seconds": 2, "width": 320, "height": 240, "kbit_s": 300},
    "360p, 6 s": {"seconds": 6, "width": 640, "height": 360, "kbit_s": 500},
    "720p, 3 s": {"seconds": 3, "width": 1280, "height": 720, "kbit_s": 1200},
    "720p, 8 s": {"seconds": 8, "width": 1280, "height": 720, "kbit_s": 1200},
}
_DEFAULT_DEADLINE_S = 20.0


def _clips(folder: Path) -> list[Clip]:
    found = []
    for name, options in _MIX.items():
        path = folder / f"{len(found)}.mp4"
        write_clip(path, **options)
        found.append(Clip(name, path.read_bytes()))
    return found


def start(root: Path, port: int, settings: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A service that runs from a checkout; it may not be ready yet."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CPFD_")}
    environment |= {"PORT": str(port), "CPFD_LOG_LEVEL": "error", "PYTHONPATH": str(root)}
    environment |= settings or {}
    return subprocess.Popen([sys.executable, "-m", "service"], cwd=root, env=environment)


class Served(NamedTuple):
    """A running service."""

    port: int
    process: psutil.Process


@contextmanager
def served(root: Path, settings: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A ready service that runs from a checkout, with settings of its environment."""
    port = free_port()
    server = start(root, port, settings)
    try:
        wait_ready(port, server)
        yield Served(port, psutil.Process(server.pid))
    finally:
        server.terminate()
        server.wait(60)


def _restarts(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text = response.read().decode()
    found = re.findall(r'cpfd_decode_worker_restarts_total\{reason="(\w+)"\} (\S+)', text)
    return {reason: float(value) for reason, value in found}


async def _alone(port: int, clips: Sequence[Clip], times: int) -> list[Clip]:
    """The clips, each with how long it takes by itself: the median."""
    found = []
    for clip in clips:
        took = sorted([(await post(port, clip, clip.body(), 0.0)).took_s for _ in range(times)])
        found.append(replace(clip, alone_s=took[len(took) // 2]))
    return found


class _Cores:
    """What processes take of the cores from now on.

    Args:
        used_s: the seconds of CPU time that they have used.
    """

    def __init__(self, used_s: Callable[[], float]) -> None:
        self._used_s = used_s
        self._wall_s, self._before_s = time.monotonic(), used_s()

    def share(self) -> float:
        """Of all cores, since the beginning."""
        cores = len(os.sched_getaffinity(0))
        return (self._used_s() - self._before_s) / (time.monotonic() - self._wall_s) / cores


def _family_s(process: psutil.Process) -> float:
    """CPU seconds of a process and of all that it started, those included that have ended."""
    used_s = 0.0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it has ended a moment ago
            used_s += sum(one.cpu_times()[:4])
    return used_s


async def _measure(service: Served, clips: Sequence[Clip], options: argparse.Namespace) -> dict[str, Any]:
    port = service.port

    async def watched(answers: Awaitable[list[Answer]]) -> tuple[list[Answer], dict[str, float]]:
        cores = {"callers": _Cores(time.process_time), "service": _Cores(partial(_family_s, service.process))}
        found = await answers
        return found, {who: used.share() for who, used in cores.items()}

    callers = 4 * len(os.sched_getaffinity(0))
    before = _restarts(port)
    closed, few = await watched(closed_loop(port, clips, callers, options.peak_seconds))
    peak = _work(closed) / max(answer.sent_s + answer.took_s for answer in closed)
    per_s = sum(answer.status == 200 for answer in closed) / options.peak_seconds
    load = Load(
        per_s=options.load * per_s,
        seconds=options.seconds,
        tight_share=0.5,
        tight_s=lambda clip: max(0.3, options.tight * clip.alone_s),
        obey_share=options.obey,
    )
    answers, many = await watched(open_loop(port, clips, load))
    ended = {reason: count - before.get(reason, 0.0) for reason, count in _restarts(port).items()}
    return {
        "peak": peak,
        "capacity_per_s": per_s,
        **_figures(answers, peak, options.seconds),
        "share_of_cores": {who: {"peak": few[who], "load": many[who]} for who in few},
        "workers_ended": ended,
    }


def _work(answers: Sequence[Answer]) -> float:
    """Seconds of work of the verdicts that came within their deadlines."""
    return sum(a.clip.alone_s for a in answers if a.status == 200 and a.took_s <= (a.deadline_s or _DEFAULT_DEADLINE_S))


def _figures(answers: Sequence[Answer], peak: float, seconds: float) -> dict[str, Any]:
    first = [a for a in answers if not a.again]
    again = [a for a in answers if a.again]
    accepted = [a for a in answers if a.status in (200, 504)]
    in_time = [a for a in accepted if a.status == 200 and a.took_s <= (a.deadline_s or _DEFAULT_DEADLINE_S)]
    refused = sorted(a.waited_s for a in answers if a.status in (422, 429))
    return {
        "offered": len(first),
        "came_back": len(again),
        "answers": dict(Counter(a.code for a in answers)),
        "goodput_of_peak": _work([a for a in answers if a.sent_s + a.took_s <= seconds]) / seconds / peak,
        "accepted_in_time": len(in_time) / max(1, len(accepted)),
        "tight_in_time": sum(a.tight for a in in_time) / max(1, sum(a.tight for a in first)),
        "retry_after_kept": sum(a.status == 200 for a in again) / max(1, len(again)),
        "refusal_ms": {f"p{q}": _quantile(refused, q / 100) * 1000 for q in (50, 99, 100)},
        "broken": sum(a.status == 0 for a in answers),
    }


def _quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of every checkout."""
    roots = {"this": Path.cwd()} | ({"before": options.against.resolve()} if options.against else {})
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        clips = _clips(Path(folder))
        for name, root in roots.items():
            with served(root) as service:
                timed = asyncio.run(_alone(service.port, clips, options.alone))
                found[name] = asyncio.run(_measure(service, timed, options))
                found[name]["alone_ms"] = {clip.name: 1000 * clip.alone_s for clip in timed}
    return {
        **when_and_where(),
        "load": options.load,
        "seconds": options.seconds,
        "obey": options.obey,
        "tight": options.tight,
        "checkouts": found,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    found = result["checkouts"]
    rows: list[tuple[str, list[str]]] = [
        ("peak, verdicts a second", [f"{f['capacity_per_s']:.2f}" for f in found.values()]),
        ("offered, and came back as told", [f"{f['offered']}, {f['came_back']}" for f in found.values()]),
        ("goodput over peak, by work", [f"{f['goodput_of_peak']:.3f}" for f in found.values()]),
        *(
            (
                f"share of the cores of the {who}, at the peak and beyond",
                [", ".join(f"{share:.3f}" for share in f["share_of_cores"][who].values()) for f in found.values()],
            )
            for who in ("callers", "service")
        ),
        ("accepted and in time", [f"{f['accepted_in_time']:.3f}" for f in found.values()]),
        ("tight ones answered in time", [f"{f['tight_in_time']:.3f}" for f in found.values()]),
        ("let in when back as told", [f"{f['retry_after_kept']:.2f}" for f in found.values()]),
        (
            "refusal after the last byte, ms: p50, p99, most",
            [", ".join(f"{v:.0f}" for v in f["refusal_ms"].values()) for f in found.values()],
        ),
        ("answers", ["; ".join(f"{n} {c}" for c, n in sorted(f["answers"].items())) for f in found.values()]),
        (
            "workers ended",
            ["; ".join(f"{n:.0f} {r}" for r, n in f["workers_ended"].items() if n) or "none" for f in found.values()],
        ),
        ("alone, ms", ["; ".join(f"{n}: {ms:.0f}" for n, ms in f["alone_ms"].items()) for f in found.values()]),
    ]
    lines = [
        f"{result['date']}; {result['machine']}; open loop at {result['load']:g} x the peak of a closed loop for "
        f"{result['seconds']:g} s; half of the deadlines are {result['tight']:g} x what the clip takes alone (0.3 s at "
        f"least); {result['obey']:.0%} of the refused come back once, as told.",
        "",
        "| |" + "|".join(f" {name} " for name in found) + "|",
        "|---" * (1 + len(found)) + "|",
    ]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(values)} |" for name, values in rows)]) + "\n"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the open loop")
    parser.add_argument("--peak-seconds", type=float, default=20.0, help="of the closed loop before it")
    parser.add_argument("--load", type=float, default=3.0, help="times the peak")
    parser.add_argument("--tight", type=float, default=3.0, help="a tight deadline over what the clip takes alone")
    parser.add_argument("--obey", type=float, default=0.5, help="share of the refused that come back as told")
    parser.add_argument("--alone", type=int, default=5, help="requests by which a clip's own time is measured")
    parser.add_argument("--against", type=Path, help="another checkout, measured in the same run")
    parser.add_argument("--out", type=Path, help="folder for DATE-service.json and .md; none: stdout only")
    options = parser.parse_args()
    result = run(options)
    hand_over(result, "service", f"# `make bench-service`\n\n{table(result)}", options.out)


if __name__ == "__main__":
    main()
