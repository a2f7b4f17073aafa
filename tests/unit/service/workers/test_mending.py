"""Processes that clips ended are replaced one a second, as long as enough others are alive."""

from __future__ import annotations

import asyncio

import pytest

from service.workers import mending
from service.workers.mending import Mending


@pytest.fixture(autouse=True)
def _hundredths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "_PACE_S", 0.2)
    monkeypatch.setattr(mending, "_LOOK_S", 0.005)


def test_those_that_wait_together_start_one_after_the_other() -> None:
    async def scenario() -> float:
        pace, loop = Mending(lambda: True), asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(pace.turn() for _ in range(4)))
        return loop.time() - began

    assert asyncio.run(scenario()) >= 3 * 0.2  # the first at once


def test_turns_that_nobody_waited_for_are_no_debt() -> None:
    """After a burst that ended all processes at once, the next one used to wait a second for each of them."""

    async def scenario() -> float:
        enough = False
        pace, loop = Mending(lambda: enough), asyncio.get_running_loop()
        for _ in range(50):
            await pace.turn()
        enough = True
        began, turn = loop.time(), asyncio.ensure_future(pace.turn())
        await asyncio.sleep(0)
        turn.cancel()
        return pace._due - began

    assert asyncio.run(scenario()) <= 2 * 0.2
