"""How long a run takes: what is learnt of it, told of it, and refused by it; what nobody waits for is given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.example import ModelInputs
from service.errors import DeadlineExceeded
from service.scheduling.estimate import Estimate
from service.stages.microbatch import MicroBatcher
from tests.unit.service.stages.batching import Clock, Model, drive, example, soon
from tests.until import until


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
