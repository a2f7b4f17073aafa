"""The micro-batcher: late commit, urgency, deadlines, strangers, drain."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.example import ModelInputs
from contract.text import TokenisedText
from service.errors import DeadlineExceeded, Draining, InferenceFailed
from service.metrics import Metrics
from service.scheduling.estimate import Estimate
from service.scheduling.policy import Priority
from service.stages import microbatch
from service.stages.inference import GaveWay, Lanes
from service.stages.microbatch import MicroBatcher


def example(value: int) -> ModelInputs:
    ids = np.asarray([value], np.int64)
    text = TokenisedText(ids, np.ones_like(ids), present=True, truncated_fields=())
    return ModelInputs(np.zeros((1, 1, 1, 3), np.uint8), (), text, video_present=False)


class Model:
    """Answers with the example's own number; can be held, and breaks on 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.given_up: list[bool] = []
        self.gate = threading.Event()
        self.gate.set()

    def infer(self, examples: Sequence[ModelInputs], given_up: Callable[[], bool]) -> Mapping[str, NDArray[np.float32]]:
        values = [int(e.text.input_ids[0]) for e in examples]
        self.batches.append(values)
        assert self.gate.wait(5)
        self.given_up.append(given_up())
        if self.given_up[-1]:
            raise GaveWay
        if 13 in values:
            raise RuntimeError("thirteen")
        return {"task": np.asarray(values, np.float32)[:, None]}


def drive(
    scenario: Callable[[MicroBatcher, Model], Awaitable[None]], max_batch: int = 4, lanes: int = 1, **options: Any
) -> Metrics:
    metrics = Metrics()

    async def run() -> None:
        model, pool = Model(), Lanes(lanes)
        batcher = MicroBatcher("arm", model.infer, max_batch, pool, metrics, **options)
        batcher.start()
        try:
            await scenario(batcher, model)
        finally:
            model.gate.set()
            await batcher.close()
            assert not pool.free.locked()
            pool.close()

    asyncio.run(run())
    return metrics


def soon() -> float:
    return time.monotonic() + 5


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  polls what has no event
            await asyncio.sleep(0.002)


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


def test_what_cannot_be_done_in_time_is_dropped_before_the_lane_but_not_on_a_guess(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slow warm-up refuses nobody; what was measured does, however many tight deadlines come."""

    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        for i in range(8):
            await batcher.submit(example(i), time.monotonic() + 0.5)
        assert len(model.batches) == 8
        batcher._run_estimates[False] = Estimate()
        for _ in range(8):
            batcher._run_estimates[False].learn(1.0)
        for _ in range(30):
            with pytest.raises(DeadlineExceeded):
                await batcher.submit(example(99), time.monotonic() + 0.5)
        assert len(model.batches) == 8
        assert (await batcher.submit(example(9), time.monotonic() + 60)).logits["task"] == [9]
        monkeypatch.setattr(batcher._run_estimates[False], "_clock", lambda: time.monotonic() + 61)
        assert (await batcher.submit(example(10), time.monotonic() + 0.5)).logits["task"] == [10]

    drive(scenario, expected_text_run_s=2.0)


def test_the_run_time_is_that_of_one_clip() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        ratios: list[float] = []
        batcher._run_estimates[False].learn = ratios.append  # type: ignore[method-assign]
        model.gate.clear()
        tasks = [asyncio.create_task(batcher.submit(example(0), soon()))]
        await until(lambda: len(model.batches) == 1)
        tasks += [asyncio.create_task(batcher.submit(example(i), soon())) for i in range(1, 9)]
        await asyncio.sleep(0)
        model.gate.set()
        answers = await asyncio.gather(*tasks)
        assert [a.batch_size for a in answers] == [1] + [8] * 8
        assert ratios == [pytest.approx(answers[0].run_s), pytest.approx(answers[1].run_s / 8)]

    drive(scenario, max_batch=8, expected_text_run_s=1.0)


def test_a_text_is_not_priced_like_a_clip() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        assert (batcher.expected_run_s(True), batcher.expected_run_s(False)) == (1.0, 0.125)
        for i in range(8):
            await batcher.submit(example(i), soon())
        assert batcher.expected_run_s(True) == 1.0
        assert batcher.expected_run_s(False) < 0.1

    drive(scenario, expected_run_s=1.0, expected_text_run_s=0.125)


def test_a_run_that_nobody_waits_for_is_given_up() -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        left = asyncio.create_task(batcher.submit(example(1), soon()))
        await until(lambda: len(model.batches) == 1)
        left.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        assert (await batcher.submit(example(2), soon())).logits["task"] == [2]
        assert model.given_up == [True, False]

    drive(scenario, max_batch=1)


def test_a_model_that_became_too_slow_for_its_callers_does_not_go_on_looking_fast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        clock = Clock(monkeypatch)
        for after_s, learnt in ((9.0, 9.0), (2.0, 9.0)):  # one that ended sooner than expected says nothing
            model.gate.clear()
            left = asyncio.create_task(batcher.submit(example(1), clock.now + 1000))
            await until(lambda: not model.gate.is_set() and bool(batcher._running))
            await asyncio.sleep(0.01)
            left.cancel()
            await asyncio.sleep(0)
            clock.now += after_s
            model.gate.set()
            await until(lambda: not batcher._running)
            assert batcher.expected_run_s(False) == pytest.approx(learnt)

    drive(scenario, max_batch=1, expected_text_run_s=1.0)


def test_a_batch_of_both_kinds_teaches_both() -> None:
    """On a GPU there are few others."""

    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        model.gate.clear()
        tasks = [asyncio.create_task(batcher.submit(example(0), soon()))]
        await until(lambda: len(model.batches) == 1)
        clip = replace(example(1), video_present=True)
        tasks += [asyncio.create_task(batcher.submit(one, soon())) for one in (clip, example(2))]
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(*tasks)
        assert [sorted(batch) for batch in model.batches] == [[0], [1, 2]]
        assert batcher.expected_run_s(True) < 10.0

    drive(scenario, max_batch=2, expected_run_s=100.0, expected_text_run_s=1.0)


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


class Clock:
    """Stands for ``time``: only the test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(microbatch, "time", self)

    def monotonic(self) -> float:
        return self.now


def test_the_oldest_run_is_the_one_that_may_be_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        clock = Clock(monkeypatch)
        model.gate.clear()
        tasks = []
        for i in (1, 2):
            tasks.append(asyncio.create_task(batcher.submit(example(i), clock.now + 100)))
            await until(lambda: len(model.batches) == len(tasks))
            clock.now += 10 * i
        assert batcher.oldest_run_s() == 30
        model.gate.set()
        await asyncio.gather(*tasks)

    drive(scenario, max_batch=1, lanes=2)


def test_each_clip_of_a_batch_is_told_its_own_wait_and_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(batcher: MicroBatcher, model: Model) -> None:
        clock = Clock(monkeypatch)
        answer_of = model.infer

        def slow(examples: Sequence[ModelInputs], given_up: Callable[[], bool]) -> Mapping[str, NDArray[np.float32]]:
            found = answer_of(examples, given_up)
            clock.now += 400 * (len(examples) > 1)
            return found

        batcher._infer = slow
        model.gate.clear()
        tasks = [asyncio.create_task(batcher.submit(example(0), clock.now + 1000))]
        await until(lambda: len(model.batches) == 1)
        tasks += [asyncio.create_task(batcher.submit(example(i), clock.now + 1000)) for i in range(1, 5)]
        await asyncio.sleep(0)
        clock.now += 100
        model.gate.set()
        answers = await asyncio.gather(*tasks)
        assert [answer.run_s for answer in answers] == [100, 400, 400, 400, 400]
        assert [answer.queue_s for answer in answers] == [0, 100, 100, 100, 100]

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
