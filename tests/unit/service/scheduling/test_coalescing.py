"""Where no descriptor is left for the work's own copy of a clip."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from typing import Never

import pytest

from service.context import Progress
from service.errors import StorageExhausted
from service.scheduling import coalescing
from service.scheduling.coalescing import Flight, Flights
from service.scheduling.policy import Priority


def test_a_clip_that_cannot_be_opened_once_more_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> Never:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def work(_: Flight[str]) -> str:
        return "done"

    async def scenario() -> None:
        flights: Flights[str] = Flights()
        with monkeypatch.context() as patched:
            patched.setattr(coalescing.os, "dup", full)
            with pytest.raises(StorageExhausted):
                await flights.join("clip", 0, waiter(), Progress(), work)
        assert len(flights) == 0
        assert await flights.join("clip", 0, waiter(), Progress(), work) == ("done", False)

    asyncio.run(scenario())


def test_others_have_their_turns_while_many_are_told_the_outcome() -> None:
    """Each answer takes a millisecond of the loop: a hundred in one turn kept everybody else waiting."""

    async def work(_: Flight[str]) -> str:
        await asyncio.sleep(0.01)
        return "done"

    async def scenario() -> None:
        flights: Flights[str] = Flights()
        told: list[int] = []
        seen: set[int] = set()

        async def wait(number: int) -> None:
            assert (await flights.join("clip", None, waiter(), Progress(), work))[0] == "done"
            told.append(number)

        waiting = asyncio.gather(*(wait(number) for number in range(20)))
        while not waiting.done():
            seen.add(len(told))
            await asyncio.sleep(0)
        assert told == list(range(20))
        assert len(seen) > 10

    asyncio.run(scenario())


def test_work_is_as_urgent_as_the_most_urgent_of_those_who_wait() -> None:
    async def scenario() -> None:
        flight: Flight[str] = Flight(None)
        last = flight.board(9.0, Priority.LAST)
        assert flight.priority is Priority.LAST
        bulk = flight.board(8.0, Priority.BULK)
        assert flight.priority is Priority.BULK
        urgent = flight.board(7.0, Priority.INTERACTIVE)
        assert flight.priority is Priority.INTERACTIVE
        for leaving in (urgent, bulk, last):
            flight.alight(leaving)
        assert flight.priority is Priority.INTERACTIVE  # as who came last

    asyncio.run(scenario())


def waiter() -> tuple[float, Priority]:
    return time.monotonic() + 5, Priority.INTERACTIVE
