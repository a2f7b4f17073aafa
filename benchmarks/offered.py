"""Requests against a running service: a closed loop for its peak, an open loop for what it does beyond.

Every request carries bytes of its own (a box that readers skip), so that none is equal to another.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_numbers = itertools.count()
_TIMEOUT_S = 130.0


@dataclass(frozen=True)
class Clip:
    """A clip of the mix.

    Attributes:
        name: for the report.
        data: an MP4.
        alone_s: how long its request takes on an idle service; 0 until it is measured.
    """

    name: str
    data: bytes
    alone_s: float = 0.0

    def body(self) -> bytes:
        """Its bytes, made unlike any other's."""
        mark = f"{next(_numbers)}-{time.time_ns()}".encode().ljust(40)
        return self.data + (8 + len(mark)).to_bytes(4, "big") + b"free" + mark


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        clip: what was sent.
        tight: whether its deadline was tight.
        again: whether it was sent again, as the refusal before had told.
        deadline_s: what was allowed; None: the service's default.
        sent_s: when it was sent, in seconds since the run began.
        took_s: from the first byte sent to the last byte read.
        waited_s: from the last byte sent to the first byte read.
        status: of HTTP; 0 where the connection broke.
        code: the problem's, or ``ok``.
        retry_after_s: as the header says.
    """

    clip: Clip
    tight: bool
    again: bool
    deadline_s: float | None
    sent_s: float
    took_s: float
    waited_s: float
    status: int
    code: str
    retry_after_s: int | None


async def post(
    port: int,
    clip: Clip,
    body: bytes,
    began: float,
    *,
    deadline_s: float | None = None,
    tight: bool = False,
    again: bool = False,
    headers: str = "",
) -> Answer:
    """One request on a connection of its own."""
    sent, status, code, retry_after = time.monotonic(), 0, "broken", None
    waited_s = 0.0
    if deadline_s is not None:
        headers += f"X-Request-Timeout-Ms: {round(1000 * deadline_s)}\r\n"
    head = (
        f"POST /classify HTTP/1.1\r\nHost: bench\r\nContent-Type: video/mp4\r\nConnection: close\r\n{headers}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head.encode() + body)
                await writer.drain()
                asked = time.monotonic()
                line = await reader.readline()
                waited_s = time.monotonic() - asked
                rest = await reader.read()
            finally:
                writer.close()
            status = int(line.split()[1])
            top, _, content = rest.partition(b"\r\n\r\n")
            code = "ok" if status == 200 else str(json.loads(content).get("code"))
            for header in top.split(b"\r\n"):
                name, _, value = header.partition(b":")
                if name.lower() == b"retry-after":
                    retry_after = int(value)
    except (OSError, TimeoutError, ValueError, IndexError):
        status = 0
    took_s = time.monotonic() - sent
    return Answer(clip, tight, again, deadline_s, sent - began, took_s, waited_s, status, code, retry_after)


async def closed_loop(port: int, clips: Sequence[Clip], callers: int, seconds: float) -> list[Answer]:
    """``callers`` callers, each sending the next clip as soon as it is answered."""
    began, turn, found = time.monotonic(), itertools.cycle(clips), list[Answer]()

    async def call() -> None:
        while time.monotonic() - began < seconds:
            clip = next(turn)
            found.append(await post(port, clip, clip.body(), began, deadline_s=60.0))

    await asyncio.gather(*(call() for _ in range(callers)))
    return found


@dataclass(frozen=True)
class Load:
    """What is offered in the open loop.

    Attributes:
        per_s: arrivals a second, Poisson.
        seconds: for how long.
        tight_share: of the requests that have a tight deadline.
        tight_s: clip -> that deadline.
        obey_share: of the refused that come back once after Retry-After.
        seed: of all draws.
    """

    per_s: float
    seconds: float
    tight_share: float
    tight_s: Callable[[Clip], float]
    obey_share: float
    seed: int = 0


async def open_loop(port: int, clips: Sequence[Clip], load: Load) -> list[Answer]:
    """Sends what is due whether or not it is answered; returns when everything is."""
    rng = random.Random(load.seed)
    began, found, tasks = time.monotonic(), list[Answer](), set[asyncio.Task[None]]()

    async def call(clip: Clip, tight: bool, obeys: bool) -> None:
        body = clip.body()
        deadline_s = load.tight_s(clip) if tight else None
        answer = await post(port, clip, body, began, deadline_s=deadline_s, tight=tight)
        found.append(answer)
        if not obeys or answer.retry_after_s is None:
            return
        if time.monotonic() - began + answer.retry_after_s < load.seconds:  # later there is no overload left
            await asyncio.sleep(answer.retry_after_s)
            found.append(await post(port, clip, body, began, deadline_s=deadline_s, tight=tight, again=True))

    due = began
    while True:
        due += rng.expovariate(load.per_s)
        if due - began >= load.seconds:
            break
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        arguments = rng.choice(clips), rng.random() < load.tight_share, rng.random() < load.obey_share
        task = asyncio.create_task(call(*arguments))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return found
