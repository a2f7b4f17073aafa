"""The micro-batcher: late commit, urgency, deadlines, strangers, drain."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from service.errors import DeadlineExceeded, Draining, InferenceFailed
from service.scheduling.policy import Priority
from service.stages.microbatch import MicroBatcher
from tests.unit.service.stages.batching import Model, drive, example, soon
from tests.until import until


def test_a_batch_holds_what_came_until_the_lane_was_free() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        first = asyncio.create_task(batcher.submit(example(0), soon()))
        await until(lambda: model.batches == [[0]])
        rest = [asyncio.create_task(batcher.submit(example(i), soon())) for i in range(1, 7)]
        await asyncio.sleep(0.02)
        assert model.batches == [[0]]
        model.gate.set()
        answers = await asyncio.gather(first, *rest)
        assert [float(a.logits["task"][0]) for a in answers] == list(range(7))
        assert model.batches == [[0], [1, 2, 3, 4], [5, 6]]
        assert [a.batch_size for a in answers] == [1, 4, 4, 4, 4, 2, 2]

    metrics = drive(scenario)
    assert metrics.registry.get_sample_value("cpfd_batch_size_sum", {"arm": "arm"}) == 7


def test_the_most_urgent_go_first() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        tasks = [asyncio.create_task(batcher.submit(example(0), soon()))]
        await until(lambda: len(model.batches) == 1)
        now = time.monotonic()
        tasks += [asyncio.create_task(batcher.submit(example(i), now + 10 - i)) for i in (1, 2, 3)]
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(*tasks)
        assert model.batches == [[0], [3], [2], [1]]

    drive(scenario, max_batch=1)


def test_a_clip_whose_caller_left_never_reaches_the_lane() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        first = asyncio.create_task(batcher.submit(example(0), soon()))
        await until(lambda: len(model.batches) == 1)
        gone, stays = (asyncio.create_task(batcher.submit(example(i), soon())) for i in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        model.gate.set()
        await asyncio.gather(first, stays)
        assert model.batches == [[0], [2]]
        assert gone.cancelled()

    drive(scenario)


def test_a_deadline_is_kept_while_queued_and_while_running() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        began = time.monotonic()
        running, queued = (asyncio.create_task(batcher.submit(example(i), began + 0.05)) for i in (0, 1))
        results = await asyncio.gather(running, queued, return_exceptions=True)
        assert [type(r) for r in results] == [DeadlineExceeded, DeadlineExceeded]
        assert time.monotonic() - began < 1
        model.gate.set()
        assert (await batcher.submit(example(2), soon())).logits["task"] == [2]
        assert model.batches == [[0], [2]]

    drive(scenario, max_batch=1)


def test_bulk_goes_after_all_others() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        tasks = [asyncio.create_task(batcher.submit(example(0), soon()))]
        await until(lambda: len(model.batches) == 1)
        bulk = asyncio.create_task(batcher.submit(example(1), time.monotonic() + 5, Priority.BULK))
        await asyncio.sleep(0)
        tasks += [bulk, asyncio.create_task(batcher.submit(example(2), time.monotonic() + 50))]
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(*tasks)
        assert model.batches == [[0], [2], [1]]

    drive(scenario, max_batch=1)


def test_what_is_left_leaves_the_queue_at_once() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        started: list[int] = []
        first = asyncio.create_task(batcher.submit(example(0), soon(), on_start=lambda: started.append(0)))
        await until(lambda: len(model.batches) == 1)
        waiting = [asyncio.create_task(batcher.submit(example(i), soon())) for i in range(1, 6)]
        await asyncio.sleep(0)
        assert depth(batcher) == 5
        for task in waiting[:4]:
            task.cancel()
        await asyncio.sleep(0)
        assert depth(batcher) == 1
        model.gate.set()
        await asyncio.gather(first, waiting[4])
        assert started == [0]

    drive(scenario, max_batch=1)


def depth(batcher: MicroBatcher) -> float | None:
    return batcher._metrics.registry.get_sample_value("cpfd_queue_depth", {"arm": "arm"})


def test_a_bad_clip_fails_alone() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        tasks = [asyncio.create_task(batcher.submit(example(i), soon())) for i in (0, 12, 13, 14)]
        await until(lambda: len(model.batches) == 1)
        model.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[2], InferenceFailed)
        assert [float(r.logits["task"][0]) for r in results if not isinstance(r, BaseException)] == [0, 12, 14]

    drive(scenario)


def test_too_few_rows_fail_those_callers_and_nobody_waits() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.infer = lambda examples: {"task": np.zeros((0, 1), np.float32)}  # type: ignore[method-assign]
        batcher._infer = model.infer
        with pytest.raises(InferenceFailed):
            await batcher.submit(example(1), soon())

    drive(scenario)


def test_a_crash_of_the_owner_fails_those_that_wait_and_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        def broken() -> Any:
            monkeypatch.undo()
            raise RuntimeError("defect")

        monkeypatch.setattr(batcher, "_commit", broken)
        with pytest.raises(InferenceFailed):
            await batcher.submit(example(1), soon())
        assert batcher.alive()
        assert (await batcher.submit(example(2), soon())).logits["task"] == [2]

    metrics = drive(scenario)
    assert metrics.registry.get_sample_value("cpfd_batcher_restarts_total", {"arm": "arm"}) == 1


def test_a_drain_lets_what_runs_end_and_tells_the_rest() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        running = asyncio.create_task(batcher.submit(example(0), soon()))
        await until(lambda: len(model.batches) == 1)
        queued = asyncio.create_task(batcher.submit(example(1), soon()))
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        with pytest.raises(Draining):
            await queued
        await asyncio.sleep(0.02)
        assert not closing.done(), "what runs has not ended"
        model.gate.set()
        assert (await running).logits["task"] == [0]
        await closing
        with pytest.raises(Draining):
            await batcher.submit(example(2), soon())

    drive(scenario, max_batch=1)


def test_a_batch_that_is_cancelled_leaves_nobody_without_an_answer() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        caller = asyncio.create_task(batcher.submit(example(0), soon()))
        await until(lambda: len(model.batches) == 1)
        for task in batcher._running:
            task.cancel()
        with pytest.raises(Draining):
            await caller

    drive(scenario)


def test_lanes_bound_what_runs_at_the_same_time() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        tasks = [asyncio.create_task(batcher.submit(example(i), soon())) for i in range(5)]
        await until(lambda: len(model.batches) == 2)
        await asyncio.sleep(0.02)
        assert len(model.batches) == 2
        assert batcher.oldest_run_s() > 0.01
        model.gate.set()
        await asyncio.gather(*tasks)
        assert batcher.oldest_run_s() == 0

    drive(scenario, max_batch=1, lanes=2)
