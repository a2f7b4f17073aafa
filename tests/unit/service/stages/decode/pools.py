"""A decode pool under test, and how it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np

from service.decoding.answer import DecodedVideo
from service.metrics import Metrics
from service.scheduling.backlog import Backlog
from service.scheduling.policy import Priority
from service.scheduling.work import OneCaller, Work
from service.settings import DecodeSettings
from service.stages.decode import Clip, DecodePool
from tests.synthetic_bundle import SPEC
from tests.until import until

SLOT = int(np.prod(SPEC.frames_shape))


def pool_for(metrics: Metrics, **settings: object) -> DecodePool:
    made = DecodeSettings.model_validate({"workers": 1, **settings})
    return DecodePool(made, SLOT, Backlog(10.0, made.workers, 1, metrics), metrics)


@contextlib.asynccontextmanager
async def pool_of(metrics: Metrics, **settings: object) -> AsyncIterator[DecodePool]:
    pool = pool_for(metrics, **settings)
    pool.start()
    try:
        await until(lambda: len(pool.pids()) == pool._processes.count + pool.serves_last)
        yield pool
    finally:
        await pool.close()
        assert pool.pids() == []


@contextlib.contextmanager
def opened(path: Path, digest: str) -> Iterator[Clip]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield Clip(descriptor, digest, path.stat().st_size)
    finally:
        os.close(descriptor)


async def ask(
    pool: DecodePool,
    path: Path,
    digest: str = "d",
    seconds: float = 20.0,
    priority: Priority = Priority.INTERACTIVE,
    starts: list[str] | None = None,
) -> DecodedVideo:
    with opened(path, digest) as clip:
        price = await pool.price(clip, SPEC)
        now = time.monotonic()
        work = Work(OneCaller(now + seconds, priority), now, price, 0.0)
        with pool.backlog.accepted(work):
            async with asyncio.timeout(seconds):
                return await pool.decode(
                    clip, SPEC, work, lambda: starts.append(digest) if starts is not None else None
                )


def restarts(metrics: Metrics, *reasons: str) -> float:
    found = [metrics.registry.get_sample_value("cpfd_decode_worker_restarts_total", {"reason": r}) for r in reasons]
    return sum(value or 0.0 for value in found)


def depth(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("cpfd_decode_queue_depth") or 0.0


UNPLANNED = ("died_idle", "killed", "timeout", "crashed", "failed")


def depth_of(pool: DecodePool) -> int:
    return len(pool.backlog._waiting)
