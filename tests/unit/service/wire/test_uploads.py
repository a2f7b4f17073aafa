"""Permits for bodies: bounded, and who sends slowly is given up for one reason, once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.errors import Draining, NotReady, Overloaded, UploadStalled
from service.metrics import Metrics
from service.settings import UploadSettings
from service.wire.uploads import GIVEN_UP, SHED_REASONS, Uploading, Uploads
from tests.until import until

LOOK_S = 0.02


def made(
    metrics: Metrics, *, window_s: float = 60.0, refusal: Draining | NotReady | None = None, **bounds: Any
) -> Uploads:
    settings = UploadSettings(**({"slow_after_seconds": LOOK_S, "min_bytes_per_second": 1000} | bounds))
    return Uploads(settings, window_s, lambda: refusal, metrics)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def within_bounds() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(within_bounds())


async def sends(permit: Uploading, count: int, seconds: float = 60.0) -> None:
    """So many bytes at once, then nothing for ever."""
    with permit:
        async with permit.paced(seconds):
            permit.received(count)
            with permit.awaited():
                await asyncio.Event().wait()


def given_up(metrics: Metrics) -> dict[str, float]:
    samples = metrics.uploads_given_up.collect()[0].samples
    return {s.labels["reason"]: s.value for s in samples if s.name.endswith("_total") and s.value}


def test_the_bounds_and_what_is_told_over_them() -> None:
    async def scenario() -> None:
        metrics = Metrics()
        uploads = made(metrics, max_count=2, max_bytes=100)
        with uploads.admit("a", 60):
            with pytest.raises(Overloaded) as refused:
                uploads.admit("b", 60)
            assert refused.value.retry_after_s
            with uploads.admit("b", 40), pytest.raises(Overloaded):
                uploads.admit("c", 0)
            assert uploads.count == 1
        assert uploads.count == 0
        shed = {s.labels["reason"]: s.value for s in metrics.shed.collect()[0].samples if s.name.endswith("_total")}
        assert shed == dict.fromkeys(SHED_REASONS, 1.0)
        assert set(GIVEN_UP) == {
            s.labels["reason"] for s in metrics.uploads_given_up.collect()[0].samples if s.name.endswith("_total")
        }

    play(scenario)


@pytest.mark.parametrize("refusal", [Draining("x"), NotReady("x")], ids=lambda error: error.code)
def test_nothing_is_taken_where_the_service_takes_nothing(refusal: Draining | NotReady) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        with pytest.raises(type(refusal)):
            made(metrics, refusal=refusal).admit("a", 1)
        assert metrics.registry.get_sample_value("cpfd_shed_total", {"reason": refusal.code}) == 1

    play(scenario)


@pytest.mark.parametrize(
    ("reason", "bounds", "count", "seconds"),
    [
        ("rate", {"window_s": 0.05}, 1, 60.0),
        ("deadline", {}, 10**9, 0.05),
        ("deadline", {}, 10**9, -1.0),
    ],
)
def test_a_body_is_given_up_for_one_reason(reason: str, bounds: dict[str, Any], count: int, seconds: float) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        uploads = made(metrics, **bounds)
        with pytest.raises(UploadStalled) as told:
            await sends(uploads.admit("a", 1), count, seconds)
        assert told.value.detail == GIVEN_UP[reason]
        assert given_up(metrics) == {reason: 1.0}
        assert uploads.count == 0

    play(scenario)


def test_a_body_that_brings_enough_or_waits_for_this_side_is_not_given_up() -> None:
    async def scenario() -> None:
        metrics = Metrics()
        uploads = made(metrics, window_s=0.05)

        async def brings_enough() -> None:
            with uploads.admit("a", 1) as permit:
                async with permit.paced(60):
                    for _ in range(10):
                        permit.received(10**9)
                        with permit.awaited():
                            await asyncio.sleep(0.02)

        async def waits_for_us() -> None:
            with uploads.admit("a", 1) as permit:
                async with permit.paced(60):
                    permit.received(1)
                    await asyncio.sleep(0.2)  # a disk that takes long

        await asyncio.gather(brings_enough(), waits_for_us())
        assert given_up(metrics) == {}

    play(scenario)


def test_a_peer_may_have_so_many_slow_ones_and_others_are_not_its_concern() -> None:
    async def scenario() -> None:
        metrics = Metrics()
        uploads = made(metrics, max_slow_per_peer=2)
        slow = [asyncio.create_task(sends(uploads.admit("a", 1), 1)) for _ in range(4)]
        slow += [asyncio.create_task(sends(uploads.admit("b", 1), 1)) for _ in range(2)]
        fast = asyncio.create_task(sends(uploads.admit("a", 1), 10**9))
        await until(lambda: uploads.count == 5 and len(uploads._slow) == 2)
        assert given_up(metrics) == {"peer": 2.0}
        assert not fast.done()
        for task in (*slow, fast):
            task.cancel()
        await asyncio.gather(*slow, fast, return_exceptions=True)
        assert uploads.count == 0
        assert uploads._slow == {}

    play(scenario)


def test_the_slowest_gives_way_to_a_new_one() -> None:
    async def scenario() -> None:
        metrics = Metrics()
        uploads = made(metrics, max_count=3)
        held = [asyncio.create_task(sends(uploads.admit("a", 1), count)) for count in (20, 10, 10**9)]
        await until(lambda: len(uploads._slow.get("a", ())) == 2)
        with uploads.admit("b", 1), uploads.admit("b", 1):
            with pytest.raises(Overloaded):  # the third sends fast enough
                uploads.admit("b", 1)
            await until(lambda: held[0].done() and held[1].done())
        assert [task.done() for task in held] == [True, True, False]
        assert given_up(metrics) == {"gave_way": 2.0}
        held[2].cancel()
        await asyncio.gather(*held, return_exceptions=True)
        assert uploads.count == 0

    play(scenario)
