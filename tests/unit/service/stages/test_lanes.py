"""Lanes: so many threads and no more; a close waits for nobody and begins nothing."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from service.cores import BEHIND_THE_LOOP
from service.stages.inference import Lanes

PATIENCE_S = 30.0


def test_as_many_runs_as_there_are_lanes_go_side_by_side_and_no_more() -> None:
    async def scenario() -> None:
        lanes, both = Lanes(2), threading.Barrier(2)
        assert (lanes.count, lanes.free._value) == (2, 2)
        await asyncio.gather(*(lanes.run(lambda: both.wait(PATIENCE_S)) for _ in range(2)))
        names = await asyncio.gather(*(lanes.run(lambda: threading.current_thread().name) for _ in range(8)))
        assert len(set(names)) <= 2
        assert all(name.startswith("lane") for name in names)
        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert await lanes.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())) == min(
            19, own + BEHIND_THE_LOOP
        )
        lanes.close()

    asyncio.run(scenario())


def test_a_close_waits_for_no_run_lets_it_end_and_begins_no_other() -> None:
    async def scenario() -> None:
        lanes, begun, ended = Lanes(1), threading.Event(), threading.Event()

        def hold() -> str:
            begun.set()
            assert ended.wait(PATIENCE_S)
            return "whole"

        running = asyncio.create_task(lanes.run(hold))
        waiting = asyncio.create_task(lanes.run(lambda: "begun"))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        try:
            closing = threading.Thread(target=lanes.close)
            closing.start()
            await asyncio.to_thread(closing.join, 5.0)
            assert not closing.is_alive(), "the close waits for a run"
        finally:
            ended.set()
        async with asyncio.timeout(PATIENCE_S):
            assert await running == "whole"
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(RuntimeError):
                await lanes.run(lambda: "begun")

    asyncio.run(scenario())
