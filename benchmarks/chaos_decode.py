"""Drills of the decode pool: honest callers alone, then beside each attack. Nothing may be lost, crossed, or made slow.

    python -m benchmarks.chaos_decode --seconds 10 --out docs/benchmarks
    python -m benchmarks.chaos_decode --seconds 3 --only spin,kill

JSON and a table into --out, the table on stderr too; exit 1 where an answer was lost or crossed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import itertools
import json
import multiprocessing
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.clip import write_clip
from benchmarks.faulty_worker import faulty
from benchmarks.serve import free_port, wait_ready

_HONEST_CALLERS = 2
_PAUSE_S = 0.1
_CLIP_MS = 2000
_numbers = itertools.count()


@dataclass
class Tally:
    """What became of some requests.

    Attributes:
        codes: ``ok``, a problem's code, or ``lost``: no answer, or none that is typed.
        crossed: answers that belong to another request.
        took_s: of each verdict.
    """

    codes: Counter[str] = field(default_factory=Counter)
    crossed: int = 0
    took_s: list[float] = field(default_factory=list)

    def p99_ms(self) -> float:
        values = sorted(self.took_s)
        return 1000 * values[min(len(values) - 1, int(0.99 * len(values)))] if values else 0.0


@dataclass(frozen=True)
class Target:
    """The service that is attacked.

    Attributes:
        port: where it listens.
        pid: of its process.
        clip: one that it takes, of ``_CLIP_MS``.
        until: ``time.monotonic`` at which the attack is over.
    """

    port: int
    pid: int
    clip: bytes
    until: float

    def workers(self) -> list[int]:
        """Process ids of its decode workers."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


def unlike(clip: bytes) -> bytes:
    """The clip, its bytes unlike any other's."""
    mark = f"{next(_numbers)}-{time.time_ns()}".encode().ljust(40)
    return clip + (8 + len(mark)).to_bytes(4, "big") + b"free" + mark


async def ask(target: Target, body: bytes, tally: Tally, *, leave_after_s: float | None = None, **headers: str) -> None:
    """Sends a clip and tallies the answer; leaves before it if told so."""
    number = f"chaos-{next(_numbers)}"
    headers = {"X-Request-Id": number, "Content-Type": "video/mp4", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    sent = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        try:
            writer.write(f"POST /classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n".encode() + body)
            await writer.drain()
            async with asyncio.timeout(leave_after_s or 60):
                answer = await reader.read()
        finally:
            writer.close()
        top, _, content = answer.partition(b"\r\n\r\n")
        document = json.loads(content)
        status = int(top.split()[1])
        code = "ok" if status == 200 else str(document["code"])
    except TimeoutError:
        tally.codes["left" if leave_after_s else "lost"] += 1
        return
    except (OSError, ValueError, IndexError, KeyError):
        tally.codes["lost"] += 1
        return
    tally.codes[code] += 1
    tally.crossed += document["request_id"] != number
    if status == 200:
        tally.took_s.append(time.monotonic() - sent)
        tally.crossed += abs(document["video"]["duration_ms"] - _CLIP_MS) > 1


Attack = Callable[[Target], Counter[str]]
"""Attacks until ``until``; returns what it did and what it was answered, as counts. Runs in a process of its own."""


async def _repeated(target: Target, step: Callable[[Tally], Awaitable[Any]], parallel: int) -> Tally:
    """``step`` again and again, by several at once."""
    tally = Tally()

    async def go_on() -> None:
        while time.monotonic() < target.until:
            await step(tally)

    await asyncio.gather(*(go_on() for _ in range(parallel)))
    return tally


def _attack(target: Target, step: Callable[[Tally], Awaitable[Any]], parallel: int = 2) -> Counter[str]:
    tally = asyncio.run(_repeated(target, step, parallel))
    return tally.codes + Counter({"crossed": tally.crossed})


def _sends(target: Target, fault: str, task: str = "decode", *, new: bool = False, **options: Any) -> Counter[str]:
    """The same clip again and again, or a new one each time, which no quarantine knows."""
    first = f"{time.time_ns()}"
    clips = (faulty(target.clip, fault, task, f"{time.time_ns()}" if new else first) for _ in itertools.count())
    return _attack(target, lambda tally: ask(target, next(clips), tally, **options))


def kill(target: Target) -> Counter[str]:
    """kill -9 of one worker, twice a second."""
    rng, counts = random.Random(0), Counter[str]()
    while time.monotonic() < target.until:
        workers = target.workers()
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                counts["killed"] += 1
        time.sleep(0.5)
    return counts


def spin(target: Target) -> Counter[str]:
    """A clip on which the decoder hangs, sent by callers who leave after half a second."""
    return _sends(target, "spin", leave_after_s=0.5)


def spin_look(target: Target) -> Counter[str]:
    """A clip on which already the look at its container hangs."""
    return _sends(target, "spin", "cost", leave_after_s=0.5)


def abort(target: Target) -> Counter[str]:
    """A clip that aborts its decoder."""
    return _sends(target, "abort")


def abort_new(target: Target) -> Counter[str]:
    """Clips that abort their decoder, each another."""
    return _sends(target, "abort", new=True)


def spin_new(target: Target) -> Counter[str]:
    """Clips on which the decoder hangs, each another, sent by callers who leave after half a second."""
    return _sends(target, "spin", new=True, leave_after_s=0.5)


def segfault(target: Target) -> Counter[str]:
    """A clip that crashes its decoder."""
    return _sends(target, "segfault")


def bomb(target: Target) -> Counter[str]:
    """A clip that takes all the memory its decoder can get."""
    return _sends(target, "bomb")


def hurry(target: Target) -> Counter[str]:
    """Deadlines of 20 ms, which are refused, and of 50 ms, which are not."""
    deadlines = itertools.cycle(("20", "50"))

    def step(tally: Tally) -> Awaitable[None]:
        return ask(target, unlike(target.clip), tally, **{"X-Request-Timeout-Ms": next(deadlines)})

    return _attack(target, step)


def leave(target: Target) -> Counter[str]:
    """Callers who leave at every stage."""
    rng = random.Random(0)
    return _attack(target, lambda tally: ask(target, unlike(target.clip), tally, leave_after_s=rng.uniform(0.001, 0.1)))


def repeat(target: Target) -> Counter[str]:
    """64 equal uploads at once."""

    async def step(tally: Tally) -> None:
        body = unlike(target.clip)
        await asyncio.gather(*(ask(target, body, tally) for _ in range(64)))

    return _attack(target, step, 1)


ATTACKS: dict[str, Attack] = {
    made.__name__: made
    for made in (kill, spin, spin_look, spin_new, abort, abort_new, segfault, bomb, hurry, leave, repeat)
}


async def _honest(target: Target) -> Tally:
    async def step(tally: Tally) -> None:
        await ask(target, unlike(target.clip), tally)
        await asyncio.sleep(_PAUSE_S)

    return await _repeated(target, step, _HONEST_CALLERS)


def drill(target: Target, attack: Attack, seconds: float) -> dict[str, Any]:
    """The honest callers' figures, alone and beside the attack."""
    asyncio.run(_honest(replace(target, until=time.monotonic() + 2.0)))  # prices are learnt
    alone = asyncio.run(_honest(replace(target, until=time.monotonic() + seconds)))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as attackers:
        attackers.submit(os.nice, 10).result()
        under = replace(target, until=time.monotonic() + seconds)
        attacked = attackers.submit(attack, under)
        beside = asyncio.run(_honest(under))
        hostile = attacked.result()
    return {
        "says": (attack.__doc__ or "").strip(),
        "honest": dict(beside.codes),
        "hostile": dict(hostile),
        "lost": alone.codes["lost"] + beside.codes["lost"] + hostile["lost"],
        "crossed": alone.crossed + beside.crossed + hostile["crossed"],
        "p99_ms_alone": alone.p99_ms(),
        "p99_ms_beside": beside.p99_ms(),
        "ratio": beside.p99_ms() / alone.p99_ms() if alone.took_s else 0.0,
    }


def run(names: list[str], seconds: float) -> dict[str, Any]:
    """Every drill against a service of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, seconds=2, width=320, height=240, kbit_s=300)
        clip = path.read_bytes()
        for name in names:
            port = free_port()
            environment = {k: v for k, v in os.environ.items() if not k.startswith("CPFD_")}
            environment |= {"PORT": str(port), "CPFD_LOG_LEVEL": "error"}
            server = subprocess.Popen([sys.executable, "-m", "benchmarks.faulty_service"], env=environment)
            try:
                wait_ready(port, server)
                found[name] = drill(Target(port, server.pid, clip, 0.0), ATTACKS[name], seconds)
                found[name]["survived"] = server.poll() is None
            finally:
                server.terminate()
                server.wait(60)
    cores = len(os.sched_getaffinity(0))
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{cores} cores, {platform.machine()}, Python {platform.python_version()}",
        "seconds": seconds,
        "drills": found,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{result['date']}; {result['machine']}; {_HONEST_CALLERS} honest callers of 240p clips for "
        f"{result['seconds']:g} s alone and as long beside each attack.",
        "",
        "| attack | honest answers | answers to the attacker | lost | crossed | p99 ms alone, beside | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, f in result["drills"].items():
        honest, hostile = ("; ".join(f"{n} {c}" for c, n in sorted(f[side].items())) for side in ("honest", "hostile"))
        p99 = f"{f['p99_ms_alone']:.0f}, {f['p99_ms_beside']:.0f}"
        lines.append(f"| {name} | {honest} | {hostile} | {f['lost']} | {f['crossed']} | {p99} | {f['ratio']:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Runs the drills; 1 where something was lost or crossed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each half of each drill")
    parser.add_argument("--only", default=",".join(ATTACKS), help="names of drills")
    parser.add_argument("--out", type=Path, help="folder for DATE-chaos-decode.json and .md; none: stdout only")
    options = parser.parse_args()
    result = run(options.only.split(","), options.seconds)
    sys.stderr.write(table(result))
    text = json.dumps(result, indent=1) + "\n"
    if options.out is None:
        sys.stdout.write(text)
    else:
        stem = options.out / f"{result['date']}-chaos-decode"
        stem.with_suffix(".json").write_text(text, encoding="utf-8")
        stem.with_suffix(".md").write_text(f"# Drills of the decode pool\n\n{table(result)}", encoding="utf-8")
    return int(any(f["lost"] or f["crossed"] or not f["survived"] for f in result["drills"].values()))


if __name__ == "__main__":
    sys.exit(main())
