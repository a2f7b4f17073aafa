"""Exactly one outcome for each caller, and each its own, whatever fails, leaves or drains."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.example import ModelInputs
from contract.text import TokenisedText
from service.errors import DeadlineExceeded, Draining, InferenceFailed
from service.metrics import Metrics
from service.stages.inference import Lanes
from service.stages.microbatch import MicroBatcher


@dataclass(frozen=True)
class Caller:
    arrives_ms: int
    kind: Literal["stays", "leaves", "hurries", "poison"]


CALLERS = st.lists(
    st.builds(Caller, st.integers(0, 8), st.sampled_from(["stays", "stays", "leaves", "hurries", "poison"])),
    min_size=1,
    max_size=20,
)


def example(number: int) -> ModelInputs:
    ids = np.asarray([number], np.int64)
    text = TokenisedText(ids, np.ones_like(ids), present=True, truncated_fields=())
    return ModelInputs(np.zeros((1, 1, 1, 3), np.uint8), (), text, video_present=False)


@settings(max_examples=40, deadline=None)
@given(
    callers=CALLERS,
    max_batch=st.integers(1, 6),
    lanes=st.integers(1, 3),
    closes_ms=st.none() | st.integers(0, 12),
    seed=st.integers(0, 99),
)
def test_each_caller_has_exactly_one_outcome_and_it_is_his(
    callers: list[Caller], max_batch: int, lanes: int, closes_ms: int | None, seed: int
) -> None:
    rng = random.Random(seed)

    def infer(examples: Sequence[ModelInputs], given_up: Callable[[], bool]) -> Mapping[str, NDArray[np.float32]]:
        assert 1 <= len(examples) <= max_batch
        numbers = [int(e.text.input_ids[0]) for e in examples]
        time.sleep(rng.random() * 0.003)
        if any(callers[n].kind == "poison" for n in numbers):
            raise RuntimeError("poison")
        return {"task": np.asarray(numbers, np.float32)[:, None]}

    async def call(batcher: MicroBatcher, number: int, caller: Caller) -> str:
        await asyncio.sleep(caller.arrives_ms / 1000)
        patience = 0.002 if caller.kind == "hurries" else 5.0
        asked = asyncio.create_task(batcher.submit(example(number), time.monotonic() + patience))
        if caller.kind == "leaves":
            await asyncio.sleep(rng.random() * 0.003)
            asked.cancel()
        try:
            answer = await asked
        except asyncio.CancelledError:
            return "left"
        except (DeadlineExceeded, InferenceFailed, Draining) as error:
            return error.code
        assert answer.logits["task"][0] == number, "somebody else's answer"
        assert answer.batch_size <= max_batch
        return "answered"

    async def run() -> list[str]:
        pool = Lanes(lanes)
        batcher = MicroBatcher("arm", infer, max_batch, pool, Metrics())
        batcher.start()
        calls = [asyncio.create_task(call(batcher, i, caller)) for i, caller in enumerate(callers)]
        if closes_ms is not None:
            await asyncio.sleep(closes_ms / 1000)
            await batcher.close()
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*calls)
        await batcher.close()
        for _ in range(lanes):
            async with asyncio.timeout(1):
                await pool.free.acquire()
        pool.close()
        return outcomes

    outcomes = asyncio.run(run())
    assert len(outcomes) == len(callers)
    for caller, outcome in zip(callers, outcomes, strict=True):
        allowed = {
            "stays": {"answered"},
            "leaves": {"left", "answered"},
            "hurries": {"answered", "deadline_exceeded"},
            "poison": {"inference_failed"},
        }[caller.kind]
        assert outcome in allowed | ({"draining"} if closes_ms is not None else set()), Counter(outcomes)
