"""A micro-batcher over a model that answers with its example's number, and what drives it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.example import ModelInputs
from contract.text import TokenisedText
from service.metrics import Metrics
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


class Clock:
    """Stands for ``time``: only the test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(microbatch, "time", self)

    def monotonic(self) -> float:
        return self.now
