"""What a clip, or whoever sends it, does to the decode pool: hangs, crashes, memory, haste, leaving, repetition.

The services here run with workers that obey a clip (``benchmarks.faulty_worker``).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.chaos.registry import Target, scenario
from benchmarks.faulty_worker import faulty

_MODULE = "benchmarks.faulty_service"
_NEVER = ("lost", "crossed")
_PATIENCE_S = 60.0
_ADDRESS = "127.0.0.2"
"""Of the attackers here: not that of the honest callers."""
_numbers = itertools.count()


def _unlike(clip: bytes) -> bytes:
    """The clip, its bytes unlike any other's."""
    mark = f"{next(_numbers)}-{time.time_ns()}".encode().ljust(40)
    return clip + (8 + len(mark)).to_bytes(4, "big") + b"free" + mark


async def _ask(
    target: Target, body: bytes, counts: Counter[str], *, leave_after_s: float | None = None, **headers: str
) -> None:
    """Sends a clip and counts the answer by its code; leaves before it if told so."""
    number = f"chaos-{next(_numbers)}"
    headers = {"X-Request-Id": number, "Content-Type": "video/mp4", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    try:
        reader, writer = await asyncio.open_connection(target.host, target.port, local_addr=(_ADDRESS, 0))
        try:
            writer.write(f"POST /classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n".encode() + body)
            async with asyncio.timeout(leave_after_s or _PATIENCE_S):
                await writer.drain()
                answer = await reader.read()
        finally:
            writer.close()
        document = json.loads(answer.partition(b"\r\n\r\n")[2])
        code = str(document.get("code", "ok"))
    except TimeoutError:
        counts["left" if leave_after_s else "lost"] += 1
        return
    except (OSError, ValueError):
        counts["lost"] += 1
        return
    counts[code if document["request_id"] == number else "crossed"] += 1


def _again(target: Target, step: Callable[[Counter[str]], Awaitable[Any]], callers: int = 2) -> Counter[str]:
    """``step`` again and again, by several at once, until the time is over."""
    counts: Counter[str] = Counter()

    async def go_on() -> None:
        while time.monotonic() < target.until:
            await step(counts)

    async def all_of_them() -> None:
        await asyncio.gather(*(go_on() for _ in range(callers)))

    asyncio.run(all_of_them())
    return counts


def _sends(target: Target, fault: str, task: str = "decode", *, new: bool = False, **options: Any) -> Counter[str]:
    """The same clip again and again, or a new one each time, which no quarantine knows."""
    first = f"{time.time_ns()}"
    clips = (faulty(target.clip, fault, task, f"{time.time_ns()}" if new else first) for _ in itertools.count())
    return _again(target, lambda counts: _ask(target, next(clips), counts, **options))


@scenario("kill-workers", "kill -9 of a decode worker, or of what they are forked from, twice a second", never=_NEVER)
def kill_workers(target: Target) -> Counter[str]:
    rng, counts = random.Random(0), Counter[str]()
    while time.monotonic() < target.until:
        workers = Path(f"/proc/{target.pid}/task/{target.pid}/children").read_text().split()
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(rng.choice(workers)), signal.SIGKILL)
                counts["killed"] += 1
        time.sleep(0.5)
    return counts


@scenario(
    "spin", "a clip on which the decoder hangs, sent by callers who leave after 0.5 s", module=_MODULE, never=_NEVER
)
def spin(target: Target) -> Counter[str]:
    return _sends(target, "spin", leave_after_s=0.5)


@scenario("spin-new", "the same, but each time another clip", module=_MODULE, never=_NEVER)
def spin_new(target: Target) -> Counter[str]:
    return _sends(target, "spin", new=True, leave_after_s=0.5)


@scenario("spin-look", "a clip on which already the look at its container hangs", module=_MODULE, never=_NEVER)
def spin_look(target: Target) -> Counter[str]:
    return _sends(target, "spin", "cost", leave_after_s=0.5)


@scenario("abort", "a clip that aborts its decoder", module=_MODULE, never=_NEVER)
def abort(target: Target) -> Counter[str]:
    return _sends(target, "abort")


@scenario("abort-new", "the same, but each time another clip", module=_MODULE, never=_NEVER)
def abort_new(target: Target) -> Counter[str]:
    return _sends(target, "abort", new=True)


@scenario("segfault", "a clip that crashes its decoder", module=_MODULE, never=_NEVER)
def segfault(target: Target) -> Counter[str]:
    return _sends(target, "segfault")


@scenario("memory-bomb", "a clip that takes all the memory its decoder can get", module=_MODULE, never=_NEVER)
def memory_bomb(target: Target) -> Counter[str]:
    return _sends(target, "bomb")


@scenario("short-deadlines", "deadlines of 20 ms, which are refused, and of 50 ms, which are not", never=_NEVER)
def short_deadlines(target: Target) -> Counter[str]:
    deadlines = itertools.cycle(("20", "50"))

    def step(counts: Counter[str]) -> Awaitable[None]:
        return _ask(target, _unlike(target.clip), counts, **{"X-Request-Timeout-Ms": next(deadlines)})

    return _again(target, step)


@scenario("leave-decode", "callers who leave within 0.1 s of their last byte", never=_NEVER)
def leave_decode(target: Target) -> Counter[str]:
    rng = random.Random(0)
    return _again(
        target, lambda counts: _ask(target, _unlike(target.clip), counts, leave_after_s=rng.uniform(0.001, 0.1))
    )


@scenario("equal-uploads", "64 equal uploads at once, again and again", never=_NEVER)
def equal_uploads(target: Target) -> Counter[str]:
    async def step(counts: Counter[str]) -> None:
        body = _unlike(target.clip)
        await asyncio.gather(*(_ask(target, body, counts) for _ in range(64)))

    return _again(target, step, 1)
