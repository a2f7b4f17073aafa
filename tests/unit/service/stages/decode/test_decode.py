"""The decode pool: prices and frames as in the contract; who leaves, waits or is drained costs the others nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from contract.errors import NoVideoStream
from contract.video import DecodeLimits, decode, decode_cost
from service.cores import BEHIND_THE_LOOP, LAST
from service.decoding.process import DecodeProcess
from service.errors import Draining, Overloaded
from service.metrics import Metrics
from service.scheduling.policy import Priority
from service.scheduling.work import OneCaller, Work
from service.stages import decode as pool_module
from tests.synthetic_bundle import SPEC, write_audio_only
from tests.unit.service.stages.decode.pools import (
    UNPLANNED,
    ask,
    depth,
    depth_of,
    opened,
    pool_for,
    pool_of,
    restarts,
)
from tests.until import until


def test_frames_are_those_of_the_contract_and_refusals_are_typed(clip: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics) as pool:
            video = await ask(pool, clip)
            expected = decode(clip, SPEC, DecodeLimits())
            np.testing.assert_array_equal(video.pixels, expected.pixels)
            assert video.times_ms == expected.times_ms
            assert (video.codec, video.width, video.height) == ("h264", 96, 64)
            with pytest.raises(NoVideoStream):
                await ask(pool, write_audio_only(tmp_path / "audio.mp4"))
            assert (await ask(pool, clip)).times_ms == expected.times_ms
            assert restarts(metrics, *UNPLANNED) == 0

    asyncio.run(scenario())


def test_the_price_follows_what_the_container_says(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics) as pool:
            asked = []
            price_really = pool.prices.price
            monkeypatch.setattr(pool.prices, "price", lambda *given: asked.append(given) or price_really(*given))
            with opened(clip, "d") as opened_clip:
                await pool.price(opened_clip, SPEC)
            assert asked == [(decode_cost(clip, SPEC, DecodeLimits()), opened_clip.size)]
            assert metrics.registry.get_sample_value("cpfd_unpriced_clips_total") == 0

    asyncio.run(scenario())


@pytest.mark.all_processes
def test_a_container_that_does_not_say_is_told_from_a_worker_that_talks_nonsense(clip: Path) -> None:
    cost = dataclasses.asdict(decode_cost(clip, SPEC, DecodeLimits()))

    async def scenario() -> None:
        with opened(clip, "d") as one:
            look, process = pool_module._Look(one, SPEC, pool_for(Metrics())), cast(DecodeProcess, None)
            seen = look.read({"cost": dict(cost)}, process)
            assert seen == pool_module._Seen(decode_cost(clip, SPEC, DecodeLimits()))
            assert look.read({"cost": None}, process) == pool_module._Seen(None)
            for nonsense in ({}, {"cost": 7}, {"cost": cost | {"codec": 7}}, {"price": None}):
                assert look.read(nonsense, process) is None

    asyncio.run(scenario())


def test_a_look_that_hangs_holds_nobody_up_for_long(clip: Path, obedient: Callable[..., Path]) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics, wall_seconds=60) as pool:
            hanging = [asyncio.create_task(ask(pool, obedient("spin", "cost"), f"h{i}")) for i in range(2)]
            await asyncio.sleep(0.1)
            assert (await ask(pool, clip, "innocent")).codec == "h264"
            assert (metrics.registry.get_sample_value("cpfd_unpriced_clips_total") or 0) >= 1
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

    asyncio.run(scenario())


def test_workers_step_back_behind_the_event_loop(clip: Path) -> None:
    async def scenario() -> None:
        async with pool_of(Metrics()) as pool:
            await ask(pool, clip)
            expected = min(19, os.getpriority(os.PRIO_PROCESS, 0) + BEHIND_THE_LOOP)
            found = sorted(os.getpriority(os.PRIO_PROCESS, pid) for pid in pool.pids())
            assert found == [expected] * pool.processes + [LAST]  # of those who come last

    asyncio.run(scenario())


def test_a_worker_is_in_our_session_where_its_niceness_counts_and_not_in_our_group(clip: Path) -> None:
    """A kernel that groups by session orders the threads of one alone; a signal for the group ends no decode."""

    async def scenario() -> None:
        async with pool_of(Metrics()) as pool:
            await ask(pool, clip)
            for pid in pool.pids():
                assert os.getsid(pid) == os.getsid(0)
                assert os.getpgid(pid) == pid != os.getpgid(0)

    asyncio.run(scenario())


def test_a_caller_who_leaves_ends_no_worker(clip: Path, obedient: Callable[..., Path]) -> None:
    """However many callers allow too little time: the workers live on, and the queue is empty at once."""

    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics) as pool:
            pids = set(pool.pids())
            endless = obedient("patient")
            for i in range(4):
                starts: list[str] = []
                asked = asyncio.create_task(ask(pool, endless, f"s{i}", starts=starts))
                await until(lambda starts=starts: bool(starts))
                waits = asyncio.create_task(ask(pool, endless, f"w{i}", priority=Priority.BULK))
                await until(lambda: depth(metrics) == 1)
                asked.cancel()
                waits.cancel()
                await asyncio.gather(asked, waits, return_exceptions=True)
                assert depth(metrics) == 0
                assert pool.backlog.drain_s() == 0
            assert (await ask(pool, clip)).codec == "h264"
            assert set(pool.pids()) == pids
            assert restarts(metrics, *UNPLANNED) == 0

    asyncio.run(scenario())


def test_work_that_cannot_be_in_time_any_more_is_not_begun(clip: Path, obedient: Callable[..., Path]) -> None:
    async def scenario() -> None:
        async with pool_of(Metrics()) as pool:
            starts: list[str] = []
            holds = asyncio.create_task(ask(pool, obedient("patient"), "holds", starts=starts))
            await until(lambda: starts == ["holds"])
            with opened(clip, "late") as late:
                price = await pool.price(late, SPEC)
                now = time.monotonic()
                work = Work(OneCaller(now + 0.05, Priority.BULK), now, price, 0.0)
                with pool.backlog.accepted(work):
                    decoding = asyncio.create_task(pool.decode(late, SPEC, work, lambda: starts.append("late")))
                    await asyncio.sleep(0.06)
                    holds.cancel()
                    with pytest.raises(Overloaded):
                        await decoding
            assert starts == ["holds"]

    asyncio.run(scenario())


def test_nothing_is_left_of_a_decode_that_was_cancelled(clip: Path, obedient: Callable[..., Path]) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics) as pool:
            starts: list[str] = []
            holds = asyncio.create_task(ask(pool, obedient("patient"), "holds", starts=starts))
            await until(lambda: starts == ["holds"])
            with opened(clip, "left") as left:
                price = await pool.price(left, SPEC)
                now = time.monotonic()
                work = Work(OneCaller(now + 20, Priority.BULK), now, price, 0.0)
                with pool.backlog.accepted(work):
                    decoding = asyncio.create_task(pool.decode(left, SPEC, work, lambda: None))
                    await until(lambda: depth(metrics) == 1)
                    decoding.cancel()
                    await asyncio.gather(decoding, return_exceptions=True)
                    assert depth(metrics) == 0
            holds.cancel()
            await asyncio.gather(holds, return_exceptions=True)

    asyncio.run(scenario())


def test_a_drain_tells_those_that_wait_and_those_that_run(clip: Path, obedient: Callable[..., Path]) -> None:
    async def scenario() -> None:
        async with pool_of(Metrics()) as pool:
            asked = [
                asyncio.create_task(ask(pool, obedient("patient"), f"{i}", priority=Priority.BULK)) for i in range(4)
            ]
            await until(lambda: depth_of(pool) == 3)
            await pool.close()
            for outcome in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(outcome, Draining)
            with pytest.raises(Draining):
                await ask(pool, clip)

    asyncio.run(scenario())


def test_a_drain_tells_those_that_wait_for_a_price(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process was started, so nobody looks; the drain must not leave them to their patience."""
    monkeypatch.setattr(pool_module, "_LOOK_PATIENCE_S", 600.0)

    async def scenario() -> None:
        pool = pool_for(Metrics())
        with opened(clip, "d") as one:
            asking = [asyncio.create_task(pool.price(one, SPEC)) for _ in range(2)]
            await until(lambda: len(pool._looks) == 2)
            await pool.close()
            async with asyncio.timeout(30):
                told = await asyncio.gather(*asking, return_exceptions=True)
            assert [type(one) for one in told] == [Draining, Draining]
            assert [one.retry_after_s for one in told if isinstance(one, Draining)] == [1, 1]
            with pytest.raises(Draining):
                await pool.price(one, SPEC)

    asyncio.run(scenario())


def test_a_drain_waits_until_its_processes_are_gone(clip: Path) -> None:
    async def scenario() -> None:
        pool = pool_for(Metrics())
        pool.start()
        await until(lambda: pool.alive() == pool._processes.count)
        pids = pool.pids()
        await pool.close()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    asyncio.run(scenario())


def test_a_worker_never_sees_a_clip_whose_caller_left(
    clip: Path, obedient: Callable[..., Path], handed: list[tuple[str, int]]
) -> None:
    async def scenario() -> None:
        async with pool_of(Metrics()) as pool:
            running = asyncio.create_task(ask(pool, obedient("patient"), "running", priority=Priority.BULK))
            await until(lambda: [task for task, _ in handed] == ["cost", "decode"])
            gone, waits = (asyncio.create_task(ask(pool, clip, d, priority=Priority.BULK)) for d in ("gone", "waits"))
            await until(lambda: depth_of(pool) == 2)
            gone.cancel()
            running.cancel()
            await waits
            assert [task for task, _ in handed].count("decode") == 2

    asyncio.run(scenario())


def test_a_job_whose_caller_left_on_its_way_to_a_worker_reads_no_file(
    clip: Path, handed: list[tuple[str, int]]
) -> None:
    """Its descriptor is closed by then, or somebody else's."""

    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics) as pool:
            with opened(clip, "left") as left:
                asked = asyncio.create_task(pool.price(left, SPEC))
                await asyncio.sleep(0)  # a worker was given the job, and has not looked at it
                assert not pool._looks
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            assert (await ask(pool, clip)).codec == "h264"
            assert [task for task, _ in handed] == ["cost", "decode"]
            assert restarts(metrics, *UNPLANNED) == 0

    asyncio.run(scenario())


def test_small_clips_do_not_wait_behind_a_large_one(
    obedient: Callable[..., Path], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker, and it is taken: small clips are done by the spare one meanwhile."""

    async def scenario() -> None:
        async with pool_of(Metrics()) as pool:
            large = obedient("patient")
            size, price = large.stat().st_size, pool.prices.price

            def told(cost: Any, given: int) -> Any:
                found = price(cost, given)
                return replace(found, seconds=60.0 if given == size else 0.01)

            monkeypatch.setattr(pool.prices, "price", told)
            starts: list[str] = []
            holds = asyncio.create_task(ask(pool, large, "large", starts=starts))
            await until(lambda: starts == ["large"])
            for video in await asyncio.gather(*(ask(pool, clip, f"small{i}") for i in range(3))):
                assert video.codec == "h264"
            assert not holds.done()
            holds.cancel()
            await asyncio.gather(holds, return_exceptions=True)

    asyncio.run(scenario())
