"""Equal requests share one piece of work: exactly one outcome for each caller, whoever leaves, fails or drains."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import CorruptMedia
from service.context import Progress
from service.errors import DeadlineExceeded, Draining
from service.scheduling.coalescing import Flight, Flights
from service.scheduling.policy import Priority


@dataclass(frozen=True)
class Caller:
    content: Literal["a", "b", "broken"]
    arrives_ms: int
    kind: Literal["stays", "leaves", "hurries"]


CALLERS = st.lists(
    st.builds(
        Caller,
        st.sampled_from(["a", "b", "broken"]),
        st.integers(0, 12),
        st.sampled_from(["stays", "stays", "leaves", "hurries"]),
    ),
    min_size=1,
    max_size=16,
)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@settings(max_examples=40, deadline=None)
@given(CALLERS, st.none() | st.integers(0, 12))
def test_each_caller_has_exactly_one_outcome_and_it_is_his(callers: list[Caller], closes_ms: int | None) -> None:
    at_work: Counter[str] = Counter()

    async def work(flight: Flight[str], content: str) -> str:
        at_work[content] += 1
        assert at_work[content] == 1, "equal work was done twice at the same time"
        try:
            await asyncio.sleep(0.004)
            os.fstat(flight.descriptor)  # its file outlives whoever brought it
            if content == "broken":
                raise CorruptMedia("broken")
            return content.upper()
        finally:
            at_work[content] -= 1

    async def call(flights: Flights[str], caller: Caller) -> str:
        await asyncio.sleep(caller.arrives_ms / 1000)
        deadline = time.monotonic() + (0.002 if caller.kind == "hurries" else 5.0)
        with tempfile.TemporaryFile() as file:
            joined = asyncio.create_task(
                flights.join(
                    caller.content,
                    file.fileno(),
                    (deadline, Priority.INTERACTIVE),
                    Progress(),
                    lambda flight: work(flight, caller.content),
                )
            )
            if caller.kind == "leaves":
                await asyncio.sleep(0.002)
                joined.cancel()
            try:
                result, _ = await joined
            except asyncio.CancelledError:
                return "left"
            except (DeadlineExceeded, Draining, CorruptMedia) as error:
                return error.code
        assert result == caller.content.upper(), "somebody else's result"
        return "answered"

    async def run() -> list[str]:
        flights: Flights[str] = Flights()
        calls = [asyncio.create_task(call(flights, caller)) for caller in callers]
        if closes_ms is not None:
            await asyncio.sleep(closes_ms / 1000)
            await flights.close()
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*calls)
        await asyncio.sleep(0.01)
        assert len(flights) == 0
        assert not +at_work
        return outcomes

    before = open_files()
    outcomes = asyncio.run(run())
    assert open_files() == before
    for caller, outcome in zip(callers, outcomes, strict=True):
        allowed = {"corrupt_video"} if caller.content == "broken" else {"answered"}
        allowed |= {"leaves": {"left"}, "hurries": {"deadline_exceeded"}, "stays": set()}[caller.kind]
        assert outcome in allowed | ({"draining"} if closes_ms is not None else set()), outcomes


def join(
    flights: Flights[str], runs: list[Flight[str]], seconds: float = 5.0, priority: Priority = Priority.INTERACTIVE
) -> tuple[asyncio.Task[tuple[str, bool]], Progress]:
    progress = Progress()

    async def work(flight: Flight[str]) -> str:
        runs.append(flight)
        with flight.progress.in_stage("decode"):
            await asyncio.sleep(0.03)
        if time.monotonic() > flight.latest:
            raise DeadlineExceeded("late")
        return "done"

    waiter = (time.monotonic() + seconds, priority)
    return asyncio.create_task(flights.join("same", None, waiter, progress, work)), progress


def test_sixty_four_equal_requests_are_one_piece_of_work_and_each_has_his_own_timings() -> None:
    async def scenario() -> None:
        flights: Flights[str] = Flights()
        runs: list[Flight[str]] = []
        joined = [join(flights, runs) for _ in range(64)]
        results = [await task for task, _ in joined]
        assert len(runs) == 1
        assert [shared for _, shared in results] == [False] + [True] * 63
        assert set(joined[0][1].timings_ms) == {"decode"}
        assert all(set(progress.timings_ms) == {"shared"} for _, progress in joined[1:])

    asyncio.run(scenario())


def test_who_came_first_may_leave_and_the_others_are_answered() -> None:
    async def scenario() -> None:
        flights: Flights[str] = Flights()
        runs: list[Flight[str]] = []
        (first, progress), (second, _) = join(flights, runs), join(flights, runs)
        await asyncio.sleep(0.005)
        first.cancel()
        assert await second == ("done", True)
        assert len(runs) == 1
        assert (progress.stage, set(progress.timings_ms)) == ("decode", {"decode"})

    asyncio.run(scenario())


def test_the_work_ends_with_the_last_who_waits() -> None:
    async def scenario() -> None:
        flights: Flights[str] = Flights()
        runs: list[Flight[str]] = []
        tasks = [join(flights, runs)[0] for _ in range(3)]
        await asyncio.sleep(0.005)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(flights) == 0
        assert (await join(flights, runs)[0])[0] == "done"
        assert len(runs) == 2

    asyncio.run(scenario())


def test_the_urgency_is_that_of_all_who_wait() -> None:
    async def scenario() -> None:
        flights: Flights[str] = Flights()
        runs: list[Flight[str]] = []
        now = time.monotonic()
        slow, _ = join(flights, runs, 9.0, Priority.BULK)
        await asyncio.sleep(0.001)
        (flight,) = runs
        changes: list[float] = []
        flight.on_change = lambda: changes.append(flight.earliest)
        assert flight.priority is Priority.BULK
        fast, _ = join(flights, runs, 1.0)
        await asyncio.sleep(0.001)
        assert flight.priority is Priority.INTERACTIVE
        assert flight.earliest == pytest.approx(now + 1.0, abs=0.5)
        assert flight.latest == pytest.approx(now + 9.0, abs=0.5)
        fast.cancel()
        await asyncio.sleep(0.001)
        assert flight.priority is Priority.BULK
        assert len(changes) == 2
        await slow

    asyncio.run(scenario())


def test_who_has_more_time_than_those_before_begins_anew() -> None:
    """The work was given up since it came too late for whoever it was begun for."""

    async def scenario() -> None:
        flights: Flights[str] = Flights()
        runs: list[Flight[str]] = []

        async def gives_up(flight: Flight[str]) -> str:
            runs.append(flight)
            await asyncio.sleep(0.01)
            if len(runs) == 1:
                raise DeadlineExceeded("too late for the first")
            return "done"

        def ask(seconds: float) -> asyncio.Task[tuple[str, bool]]:
            waiter = (time.monotonic() + seconds, Priority.INTERACTIVE)
            return asyncio.create_task(flights.join("same", None, waiter, Progress(), gives_up))

        first, second = ask(5.0), ask(5.0)
        with pytest.raises(DeadlineExceeded):
            await first
        assert (await second)[0] == "done"
        assert len(runs) == 2

    asyncio.run(scenario())
