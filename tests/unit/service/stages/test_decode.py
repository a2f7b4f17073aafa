"""The decode pool: frames as the contract gives them; workers that hang, die or overrun hurt one clip only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import NoVideoStream
from contract.input_spec import InputSpec
from contract.video import DecodeLimits, decode
from service.context import RequestContext
from service.errors import DeadlineExceeded, DecodeCrashed, DecodeTimeout, Draining, Quarantined
from service.metrics import Metrics
from service.settings import DecodeSettings
from service.stages.decode import DecodePool
from service.stages.decode_answer import DecodedVideo
from service.stages.decode_process import DecodeProcess
from tests.synthetic_bundle import SPEC, write_audio_only, write_clip

SLOT = int(np.prod(SPEC.frames_shape))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("decode") / "clip.mp4")


@contextlib.asynccontextmanager
async def pool_of(metrics: Metrics, **settings: object) -> AsyncIterator[DecodePool]:
    pool = DecodePool(DecodeSettings.model_validate({"workers": 1, **settings}), SLOT, metrics)
    pool.start()
    try:
        await until(lambda: pool.alive() > 0)
        yield pool
    finally:
        await pool.close()
        assert pool.pids() == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  polls what has no event
            await asyncio.sleep(0.01)


async def ask(pool: DecodePool, path: Path, digest: str = "d", seconds: float = 20.0) -> DecodedVideo:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        context = RequestContext("r", deadline=time.monotonic() + seconds)
        return await pool.decode(descriptor, SPEC, digest, context)
    finally:
        os.close(descriptor)


def restarts(metrics: Metrics, reason: str) -> float:
    return metrics.registry.get_sample_value("cpfd_decode_worker_restarts_total", {"reason": reason}) or 0.0


def test_frames_are_those_of_the_contract_and_refusals_are_typed(clip: Path, tmp_path: Path) -> None:
    metrics = Metrics()

    async def scenario() -> None:
        async with pool_of(metrics, jobs_per_worker=2) as pool:
            (first,) = pool.pids()
            video = await ask(pool, clip)
            expected = decode(clip, SPEC, DecodeLimits())
            np.testing.assert_array_equal(video.pixels, expected.pixels)
            assert video.times_ms == expected.times_ms
            assert (video.codec, video.width, video.height) == ("h264", 96, 64)
            with pytest.raises(NoVideoStream):
                await ask(pool, write_audio_only(tmp_path / "audio.mp4"))
            await until(lambda: pool.pids() not in ([], [first]))
            assert restarts(metrics, "recycled") == 1
            assert (await ask(pool, clip)).times_ms == expected.times_ms

    asyncio.run(scenario())


def test_a_worker_killed_in_flight_costs_that_clip_only_and_twice_means_quarantine(clip: Path) -> None:
    metrics = Metrics()

    async def scenario() -> None:
        async with pool_of(metrics) as pool:
            for crash in (1, 2):
                await until(lambda: pool.alive() == 1)
                (pid,) = pool.pids()
                os.kill(pid, signal.SIGSTOP)
                asked = asyncio.create_task(ask(pool, clip, "poison"))
                await asyncio.sleep(0.05)
                os.kill(pid, signal.SIGKILL)
                with pytest.raises(DecodeCrashed):
                    await asked
                assert (await ask(pool, clip, "innocent")).codec == "h264"
                assert restarts(metrics, "crashed") == crash
            with pytest.raises(Quarantined):
                await ask(pool, clip, "poison")

    asyncio.run(scenario())


def test_a_hanging_worker_is_killed_at_the_wall_clock(clip: Path) -> None:
    metrics = Metrics()

    async def scenario() -> None:
        async with pool_of(metrics, wall_seconds=0.2, quarantine_after=1) as pool:
            (pid,) = pool.pids()
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(DecodeTimeout):
                await ask(pool, clip, "slow")
            with pytest.raises(Quarantined):
                await ask(pool, clip, "slow")
            assert (await ask(pool, clip, "innocent")).codec == "h264"
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 0)
                pytest.fail("the hanging worker still lives")

    asyncio.run(scenario())


def test_a_deadline_is_the_callers_and_no_crash_of_the_clip(clip: Path) -> None:
    metrics = Metrics()

    async def scenario() -> None:
        async with pool_of(metrics, quarantine_after=1) as pool:
            (pid,) = pool.pids()
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(DeadlineExceeded):
                await ask(pool, clip, seconds=0.1)
            assert (await ask(pool, clip)).codec == "h264"

    asyncio.run(scenario())


def test_an_idle_worker_that_dies_is_replaced_before_anybody_notices(clip: Path) -> None:
    metrics = Metrics()

    async def scenario() -> None:
        async with pool_of(metrics) as pool:
            (pid,) = pool.pids()
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.05)
            assert (await ask(pool, clip)).codec == "h264"
            assert restarts(metrics, "died_idle") == 1

    asyncio.run(scenario())


def test_a_cancelled_job_is_skipped_and_a_drain_tells_those_that_wait(clip: Path) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        pool = DecodePool(DecodeSettings(workers=1), SLOT, metrics)
        gone = asyncio.create_task(ask(pool, clip))
        waits = asyncio.create_task(ask(pool, clip))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        await pool.close()
        with pytest.raises(Draining):
            await waits
        assert gone.cancelled()
        with pytest.raises(Draining):
            await ask(pool, clip)

    asyncio.run(scenario())


def test_a_worker_never_sees_a_clip_whose_caller_left(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    decode_really = DecodeProcess.decode

    async def noted(self: DecodeProcess, descriptor: int, spec: InputSpec, limits: DecodeLimits) -> dict[str, Any]:
        seen.append(self.pid)
        return await decode_really(self, descriptor, spec, limits)

    monkeypatch.setattr(DecodeProcess, "decode", noted)

    async def scenario() -> None:
        async with pool_of(Metrics()) as pool:
            (pid,) = pool.pids()
            os.kill(pid, signal.SIGSTOP)
            running, gone, waits = (asyncio.create_task(ask(pool, clip, digest)) for digest in "abc")
            await until(lambda: seen == [pid])
            gone.cancel()
            os.kill(pid, signal.SIGCONT)
            await asyncio.gather(running, waits)
            assert seen == [pid, pid]

    asyncio.run(scenario())


def test_a_worker_that_cannot_start_says_why_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    monkeypatch.setattr("service.stages.decode_process._MODULE", "service.no_such_module")

    async def scenario() -> None:
        pool = DecodePool(DecodeSettings(workers=1), SLOT, metrics)
        pool.start()
        await until(lambda: restarts(metrics, "start_failed") >= 2)
        assert pool.alive() == 0
        await pool.close()

    asyncio.run(scenario())
    assert "no_such_module" in str(caplog.records[0].__dict__["fields"]["cause"])
