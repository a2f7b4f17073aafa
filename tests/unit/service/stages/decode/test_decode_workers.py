"""The decode pool's workers: those that hang, die or overrun hurt one clip only, and are replaced in time."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.cores import LAST
from service.decoding import start
from service.errors import DecodeCrashed, DecoderLost, DecodeTimeout, Quarantined
from service.metrics import Metrics
from service.scheduling.policy import Priority
from service.stages import decode as pool_module
from service.workers.patience import Patience
from tests.unit.service.stages.decode.pools import (
    ask,
    pool_for,
    pool_of,
    restarts,
)
from tests.until import until


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


@pytest.mark.parametrize("hanging", [1, 2])
def test_clips_that_hang_keep_nobody_waiting(clip: Path, obedient: Callable[..., Path], hanging: int) -> None:
    """One hanging decode had its place, and all of them the service, until the wall clock ended them."""

    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics, wall_seconds=60, quarantine_after=1) as pool:
            assert pool.processes == 2
            for _ in range(10):  # what a clip takes is learnt
                await ask(pool, clip)
            starts: list[str] = []
            spin = obedient("spin")
            stuck = [asyncio.create_task(ask(pool, spin, f"{i}", 50, starts=starts)) for i in range(hanging)]
            await until(lambda: len(starts) == hanging)
            for number in range(3):
                assert (await ask(pool, clip, f"honest {number}", 50)).codec == "h264"
            ended = [task for task in stuck if task.done()]
            assert ended or hanging < pool.processes  # else there was a process for the others
            assert all(isinstance(task.exception(), DecodeTimeout) for task in ended)
            for task in stuck:
                task.cancel()
            await until(lambda: restarts(metrics, "stuck", "stepped_back", "timeout") == hanging)
            await until(lambda: pool.alive() == pool.processes)

    asyncio.run(scenario())


def test_who_is_put_last_has_what_others_leave_of_the_cores(
    clip: Path, obedient: Callable[..., Path], handed: list[tuple[str, int]]
) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics, wall_seconds=60) as pool:
            starts: list[str] = []
            goes_on = asyncio.create_task(ask(pool, obedient("patient"), "last", 50, Priority.LAST, starts))
            await until(lambda: starts == ["last"] and handed[-1][0] == "decode")
            pid = handed[-1][1]
            assert os.sched_getscheduler(pid) == os.SCHED_IDLE
            assert os.getpriority(os.PRIO_PROCESS, pid) == LAST
            for number in range(pool.processes):  # it has a process of its own
                assert (await ask(pool, clip, f"beside {number}", 50)).codec == "h264"
                assert os.sched_getscheduler(handed[-1][1]) == os.SCHED_OTHER
            assert not goes_on.done()
            waits = asyncio.create_task(ask(pool, clip, "last too", 50, Priority.LAST))
            await until(lambda: pool.backlog.waits(last=True))
            goes_on.cancel()
            assert (await waits).codec == "h264"
            assert handed[-1] == ("decode", pid)  # stopped between two packets, it serves the next

    asyncio.run(scenario())


def test_who_hangs_and_comes_last_keeps_none_waiting_who_comes_last_too(
    clip: Path, obedient: Callable[..., Path]
) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics, wall_seconds=60, quarantine_after=1) as pool:
            starts: list[str] = []
            hangs = asyncio.create_task(ask(pool, obedient("spin"), "hangs", 50, Priority.LAST, starts))
            await until(lambda: starts == ["hangs"])
            assert (await ask(pool, clip, "waits", 50, Priority.LAST)).codec == "h264"
            with pytest.raises(DecodeTimeout):
                await hangs
            assert pool._quarantine.holds("hangs")

    asyncio.run(scenario())


def test_who_starves_beside_others_is_put_back_and_not_blamed(
    clip: Path, obedient: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wall clock goes on while others have the cores: two such ends would have condemned a good clip for all."""

    async def scenario(starved: bool) -> None:
        monkeypatch.setattr(Patience, "starved", lambda self: starved)
        metrics = Metrics()
        async with pool_of(metrics, wall_seconds=0.5, quarantine_after=1) as pool:
            starts: list[str] = []
            asked = asyncio.create_task(ask(pool, obedient("patient"), "last", 50, Priority.LAST, starts))
            await until(lambda: restarts(metrics, "stepped_back", "timeout") == 1)
            assert pool._quarantine.holds("last") is not starved
            if starved:
                await until(lambda: starts == ["last", "last"])
                assert not asked.done()
                asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(scenario(True))
    asyncio.run(scenario(False))


def test_where_idle_time_is_not_free_nobody_comes_last_by_it(monkeypatch: pytest.MonkeyPatch, clip: Path) -> None:
    """Under a quota of the control group it would use up what the others then lack."""
    monkeypatch.setattr(pool_module, "idle_time_is_free", lambda: False)

    async def scenario() -> None:
        async with pool_of(Metrics()) as pool:
            assert not pool.serves_last
            assert (await ask(pool, clip)).codec == "h264"
            assert len(pool.pids()) == pool.processes

    asyncio.run(scenario())


@pytest.mark.parametrize("processes", [2, 3])
def test_looks_that_hang_keep_no_look_waiting(
    clip: Path, obedient: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """Two may look at a time, and nobody gives them up here."""
    monkeypatch.setattr(pool_module, "_LOOK_PATIENCE_S", 50.0)
    monkeypatch.setattr(pool_module, "SPARE_PROCESSES", processes - 1)

    async def scenario() -> None:
        metrics = Metrics()
        async with pool_of(metrics, wall_seconds=60) as pool:
            spin = obedient("spin", "cost")
            stuck = [asyncio.create_task(ask(pool, spin, f"{i}", 50)) for i in range(2)]
            await until(lambda: pool._looking == 2)
            assert (await ask(pool, clip, "honest", 50)).codec == "h264"
            ended = [task for task in stuck if task.done()]
            assert ended or processes == 3  # else there was a process for the others
            assert all(isinstance(task.exception(), DecodeTimeout) for task in ended)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
            await until(lambda: pool.alive() == pool.processes)

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
            pids = pool.pids()
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            await until(lambda: restarts(metrics, "died_idle") == len(pids))
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


def test_a_worker_that_cannot_start_is_tried_less_and_less_often_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It used to be tried ten times a second for ever."""
    monkeypatch.setattr(start, "_MODULE", "service.no_such_module")
    monkeypatch.setattr(pool_module, "idle_time_is_free", lambda: False)
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
    said = [record for record in caplog.records if record.getMessage() == "decode worker did not start"]
    assert "no_such_module" in str(said[0].__dict__["fields"]["cause"])


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
