"""The decode pool: prices and frames as in the contract; workers that hang, die or overrun hurt one clip only."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.faulty_worker import faulty
from contract.errors import NoVideoStream
from contract.video import DecodeLimits, decode, decode_cost
from service.errors import DecodeCrashed, DecoderLost, DecodeTimeout, Draining, Overloaded, Quarantined
from service.metrics import Metrics
from service.scheduling.backlog import Backlog
from service.scheduling.policy import Priority
from service.scheduling.work import OneCaller, Work
from service.settings import DecodeSettings
from service.stages import decode as pool_module
from service.stages import decode_process
from service.stages.decode import Clip, DecodePool
from service.stages.decode_answer import DecodedVideo
from service.stages.decode_process import DecodeProcess
from tests.synthetic_bundle import SPEC, write_audio_only, write_clip

SLOT = int(np.prod(SPEC.frames_shape))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("decode") / "clip.mp4")


@pytest.fixture(autouse=True)
def few_processes(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """One spare process instead of two, except where a test needs them: starting them takes longer than the tests."""
    if request.node.get_closest_marker("all_processes") is None:
        monkeypatch.setattr(pool_module, "SPARE_PROCESSES", 1)


@pytest.fixture
def obedient(monkeypatch: pytest.MonkeyPatch, clip: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes workers obey, and clips that order something."""
    monkeypatch.setattr(decode_process, "_MODULE", "benchmarks.faulty_worker")

    def make(fault: str, task: str = "decode") -> Path:
        path = tmp_path / f"{fault}-{task}.mp4"
        path.write_bytes(faulty(clip.read_bytes(), fault, task))
        return path

    return make


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which question was put to which process."""
    seen: list[tuple[str, int]] = []
    ask_really = DecodeProcess.ask

    async def noted(self: DecodeProcess, job: dict[str, Any], descriptor: int) -> dict[str, Any]:
        seen.append((job["task"], self.pid))
        return await ask_really(self, job, descriptor)

    monkeypatch.setattr(DecodeProcess, "ask", noted)
    return seen


def pool_for(metrics: Metrics, **settings: object) -> DecodePool:
    made = DecodeSettings.model_validate({"workers": 1, **settings})
    return DecodePool(made, SLOT, Backlog(10.0, made.workers, 1, metrics), metrics)


@contextlib.asynccontextmanager
async def pool_of(metrics: Metrics, **settings: object) -> AsyncIterator[DecodePool]:
    pool = pool_for(metrics, **settings)
    pool.start()
    try:
        await until(lambda: pool.alive() == pool._processes.count)
        yield pool
    finally:
        await pool.close()
        assert pool.pids() == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  polls what has no event
            await asyncio.sleep(0.01)


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


def test_a_worker_killed_from_outside_costs_nobody_anything(clip: Path, handed: list[tuple[str, int]]) -> None:
    """Each death of a worker used to be blamed on its clip; two condemned it for ever."""

    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics, quarantine_after=1) as pool:
            for crash in (1, 2):
                await until(lambda: pool.alive() == pool._processes.count)
                starts: list[str] = []
                handed.clear()
                frozen = pool.pids()
                for pid in frozen:
                    os.kill(pid, signal.SIGSTOP)
                asked = asyncio.create_task(ask(pool, clip, "healthy", starts=starts))
                await until(lambda: bool(handed) and handed[-1][0] == "decode")
                os.kill(handed[-1][1], signal.SIGKILL)
                await until(lambda crash=crash: restarts(metrics, "killed") == crash)
                for pid in set(frozen) & set(pool.pids()):
                    os.kill(pid, signal.SIGCONT)
                assert (await asked).codec == "h264"
                assert starts == ["healthy"] * 2

    asyncio.run(scenario())


def test_a_clip_that_loses_two_workers_is_told_to_come_back(obedient: Callable[..., Path]) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics, quarantine_after=1) as pool:
            for _ in range(2):
                with pytest.raises(DecoderLost) as lost:
                    await ask(pool, obedient("killed"), "unlucky")
                assert lost.value.retry_after_s == 1
            await until(lambda: restarts(metrics, "killed") == 4)

    asyncio.run(scenario())


@pytest.mark.parametrize(("fault", "reason"), [("abort", "crashed"), ("segfault", "crashed"), ("raise", "failed")])
def test_a_clip_that_ends_its_worker_is_refused_alone_and_twice_means_quarantine(
    clip: Path, obedient: Callable[..., Path], fault: str, reason: str
) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics, quarantine_after=2, quarantine_seconds=3600) as pool:
            for crash in (1, 2):
                with pytest.raises(DecodeCrashed):
                    await ask(pool, obedient(fault), "poison")
                assert (await ask(pool, clip, "innocent")).codec == "h264"
                await until(lambda crash=crash: restarts(metrics, reason) == crash)
            with pytest.raises(Quarantined):
                await ask(pool, clip, "poison")
            assert metrics.registry.get_sample_value("cpfd_quarantine_hits_total") == 1

    asyncio.run(scenario())


def test_a_clip_that_takes_all_memory_ends_at_its_own_bound(clip: Path, obedient: Callable[..., Path]) -> None:
    async def scenario() -> None:
        async with pool_of(Metrics(), memory_bytes=700 << 20) as pool:
            with pytest.raises(DecodeCrashed):
                await ask(pool, obedient("bomb"), "bomb")
            assert (await ask(pool, clip)).codec == "h264"

    asyncio.run(scenario())


def test_a_hanging_worker_is_killed_at_the_wall_clock(clip: Path, obedient: Callable[..., Path]) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics, wall_seconds=0.3, quarantine_after=1) as pool:
            with pytest.raises(DecodeTimeout):
                await ask(pool, obedient("spin"), "slow")
            with pytest.raises(Quarantined):
                await ask(pool, clip, "slow")
            assert (await ask(pool, clip, "innocent")).codec == "h264"
            await until(lambda: restarts(metrics, "timeout") == 1)

    asyncio.run(scenario())


def test_a_worker_that_does_not_look_up_when_its_caller_left_is_ended(
    clip: Path, obedient: Callable[..., Path], handed: list[tuple[str, int]]
) -> None:
    """A clip that hangs does not hold a worker for the whole wall time; whoever was only stopped is not blamed."""

    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics, wall_seconds=60, quarantine_after=1) as pool:
            for path, digest in ((obedient("spin"), "spins"), (obedient("patient"), "stopped")):
                before = len(handed)
                left = asyncio.create_task(ask(pool, path, digest))
                await until(lambda before=before: len(handed) == before + 2)
                if digest == "stopped":
                    os.kill(handed[-1][1], signal.SIGSTOP)
                left.cancel()
            await until(lambda: restarts(metrics, "stuck") == 2)
            with pytest.raises(Quarantined):
                await ask(pool, clip, "spins")
            assert (await ask(pool, clip, "stopped")).codec == "h264"

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


def test_who_breaks_a_worker_waits_until_it_is_mended(obedient: Callable[..., Path]) -> None:
    """So he cannot have more workers broken than he has requests in flight."""

    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics) as pool:
            for i in range(3):
                with pytest.raises(DecodeCrashed):
                    await ask(pool, obedient("abort"), f"poison {i}")
                assert pool.alive() == pool._processes.count

    asyncio.run(scenario())


def test_an_idle_worker_that_dies_is_replaced_at_once(clip: Path) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics) as pool:
            for pid in pool.pids():
                os.kill(pid, signal.SIGKILL)
            await until(lambda: restarts(metrics, "died_idle") == 2)
            assert (await ask(pool, clip)).codec == "h264"

    asyncio.run(scenario())


@pytest.mark.all_processes
def test_workers_are_recycled_one_at_a_time_while_the_others_are_warm(clip: Path) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics, jobs_per_worker=2) as pool:
            fewest = 3
            while restarts(metrics, "recycled") < 3:
                await ask(pool, clip)
                fewest = min(fewest, pool.alive())
            assert fewest >= 2
            assert pool.faults() == []

    asyncio.run(scenario())


def test_the_lives_of_workers_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that start together must not all go together."""
    pool = pool_for(Metrics(), jobs_per_worker=1000)
    lives = {round(1000 * pool._processes._rng.uniform(0.75, 1.25)) for _ in range(20)}
    assert len(lives) > 10


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


def depth_of(pool: DecodePool) -> int:
    return len(pool.backlog._waiting)


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


def test_a_worker_that_cannot_start_is_tried_less_and_less_often_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It used to be tried ten times a second for ever."""
    monkeypatch.setattr(decode_process, "_MODULE", "service.no_such_module")
    waited: list[float] = []

    async def noted(seconds: float) -> None:
        waited.append(seconds)

    async def scenario() -> None:
        metrics = Metrics()
        pool = pool_for(metrics)
        monkeypatch.setattr("service.workers.processes.asyncio.sleep", noted)
        pool._processes.count = 1
        pool.start()
        while metrics.registry.get_sample_value("cpfd_decode_start_failures") != 5:
            await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.01)
        assert pool.alive() == 0
        assert "5 starts in a row failed" in pool.faults()[0]
        assert restarts(metrics, "start_failed") >= 5
        await pool.close()

    asyncio.run(scenario())
    assert waited[:5] == [pytest.approx(full * 0.75, rel=0.34) for full in (0.1, 0.2, 0.4, 0.8, 1.6)]
    assert "no_such_module" in str(caplog.records[0].__dict__["fields"]["cause"])


def test_readiness_is_not_what_callers_send(clip: Path, obedient: Callable[..., Path]) -> None:
    """A burst of hostile clips may end all workers at once: they are back in a moment, and that is no fault."""

    async def scenario() -> None:
        async with pool_of(Metrics()) as pool:
            crashes = [asyncio.create_task(ask(pool, obedient("abort"), f"{i}")) for i in range(8)]
            while not all(task.done() for task in crashes):
                assert pool.faults() == []
                await asyncio.sleep(0.01)
            await asyncio.gather(*crashes, return_exceptions=True)

    asyncio.run(scenario())


def test_before_the_first_worker_is_up_the_service_is_not_ready() -> None:
    pool = pool_for(Metrics())
    assert pool.faults() == ["0 of 2 decode workers are alive"]
