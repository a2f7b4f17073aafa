"""Open loop: requests are due at times drawn beforehand, whether or not earlier ones were answered.

A closed loop (a user who waits for the answer before sending again) sends nothing while the service stalls, so the
stall is one slow sample instead of the hundreds that real callers would have seen: *coordinated omission*. Here each
request has a due time from a Poisson process, is sent by a task of its own, and its latency counts from the due time.
So a stalled service, and a late generator too, show in the percentiles.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from loadtest.shapes import Plan


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request to be sent: when it is due since the plan began, and in which stage."""

    at_s: float
    stage: int


def arrivals(
    plan: Plan,
    rng: random.Random,
    *,
    sources: int = 1,
    ends_at: Callable[[int], float] | None = None,
    wait_until: Callable[[float], object] = lambda _: None,
) -> Iterator[Arrival]:
    """Due times of one of ``sources`` equal Poisson processes that together follow ``plan``.

    A stage begins afresh at its own start: the exponential gap has no memory, so that is the same process.

    Args:
        plan: how much is due when.
        rng: where chance comes from.
        sources: how many there are.
        ends_at: when a stage ends, as far as is known: it may be extended until it is over. None: nothing is extended.
        wait_until: so many seconds since the plan began.
    """
    end_s = 0.0
    for index, stage in enumerate(plan.stages):
        at_s, end_s = end_s, end_s + stage.seconds
        while True:
            at_s += rng.expovariate(stage.per_s / sources)
            while ends_at is not None and at_s >= end_s:
                wait_until(end_s)  # and no further, even if the stage is longer by now: something may be due just after
                if (later_s := ends_at(index)) <= end_s:
                    break
                end_s = later_s
            if at_s >= end_s:
                break
            yield Arrival(at_s, index)


class Flights:
    """The requests that are in flight in this process, and how many may be.

    Args:
        limit: an arrival beyond it is not sent: the generator cannot follow, and says so.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.due_s: list[float] = []

    @property
    def now(self) -> int:
        """How many there are."""
        return len(self.due_s)

    @property
    def full(self) -> bool:
        """Whether another one would be too many."""
        return self.now >= self.limit


class Spawn(Protocol):
    """Runs ``function(argument)`` beside the caller: gevent.spawn, or a thread."""

    def __call__(self, function: Callable[[Arrival], None], argument: Arrival, /) -> object: ...


def send_all(
    due: Iterator[Arrival],
    *,
    send: Callable[[Arrival], None],
    spawn: Spawn,
    flights: Flights,
    unsent: Callable[[Arrival], None],
    now_s: Callable[[], float],
    sleep: Callable[[float], object],
) -> None:
    """Starts each arrival at its due time and waits for none of them.

    Args:
        due: in order of time.
        send: sends one and records it.
        spawn: how ``send`` runs beside the others.
        flights: counts them.
        unsent: records one that ``flights`` has no room for.
        now_s: seconds since the plan began.
        sleep: for so many seconds.
    """

    def fly(arrival: Arrival) -> None:
        try:
            send(arrival)
        finally:
            flights.due_s.remove(arrival.at_s)

    for arrival in due:
        wait_s = arrival.at_s - now_s()
        if wait_s > 0:
            sleep(wait_s)
        if flights.full:
            unsent(arrival)
            continue
        flights.due_s.append(arrival.at_s)
        spawn(fly, arrival)
