"""Stages go on until it is decided whether their queue grows, and not for ever."""

from __future__ import annotations

import math
import random

import pytest

from loadtest.generator.extension import MOST, extend_stages
from loadtest.measurement.queue import QueueState, queue_of
from loadtest.shapes import Plan, Stage
from loadtest.traffic.arrivals import arrivals
from tests.unit.loadtest.synthetic_queues import deterministic, serve

PLAN = Plan("steps", tuple(Stage(6.0, per_s, per_s / 60) for per_s in (15.0, 30.0, 58.0, 75.0)))
STATIONARY, GROWING, UNDECIDED = QueueState.STATIONARY, QueueState.GROWING, QueueState.UNDECIDED


def extended(plan: Plan, left_s: float, *states: QueueState) -> list[tuple[int, float]]:
    """Which stages are extended, and by how much, if looks find ``states``, and stationary queues after them."""
    told, clock, looks = list[tuple[int, float]](), list[float](), list(states)
    extend_stages(
        plan,
        left_s,
        lead_s=0.5,
        wait_until=clock.append,
        queue_state=lambda *_: looks.pop(0) if looks else STATIONARY,
        extend=lambda stage, seconds: told.append((stage, seconds)),
    )
    assert clock == sorted(clock)
    return told


def test_what_is_decided_is_left_as_it_was_planned() -> None:
    assert extended(PLAN, 100) == []


def test_what_is_not_decided_is_doubled_until_it_is() -> None:
    assert extended(PLAN, 100, STATIONARY, UNDECIDED, UNDECIDED, STATIONARY) == [(1, 6), (1, 12)]


def test_a_stage_becomes_four_times_as_long_at_most() -> None:
    assert extended(PLAN, 1000, *[UNDECIDED] * 3) == [(0, 6), (0, 12)]
    assert sum(seconds for _, seconds in extended(PLAN, 1000, *[UNDECIDED] * 99)) == (MOST - 1) * PLAN.total_s


def test_all_together_take_no_longer_than_they_may() -> None:
    assert extended(PLAN, 8, *[UNDECIDED] * 9) == [(0, 6), (0, 2)]
    assert extended(PLAN, 0, *[UNDECIDED] * 9) == []


def test_nothing_is_extended_once_a_queue_grows() -> None:
    assert extended(PLAN, 100, STATIONARY, UNDECIDED, GROWING, UNDECIDED, UNDECIDED) == [(1, 6)]


@pytest.mark.parametrize(
    ("load", "state"), [(0.4, STATIONARY), (0.8, STATIONARY), (1.25, GROWING)], ids=["low", "under", "over"]
)
def test_a_synthetic_queue_is_decided(load: float, state: QueueState) -> None:
    """One stage of 6 s at 58 requests/s, looked at as a run does: by what was due and done up to then."""
    plan, found = Plan("steps", (Stage(6.0, 58.0, 1.0),)), list[QueueState]()
    rng = random.Random(7)
    longest = plan.extended(0, (MOST - 1) * 6.0)
    served = list(serve(arrivals(longest, rng), deterministic(load / 58.0), rng, servers=1))
    clock = [0.0]

    def look(begins_s: float, ends_s: float) -> QueueState:
        now_s = clock[0]
        assert now_s == ends_s - 0.5
        known = [(due.at_s, done if done <= now_s else math.inf) for due, done in served if due.at_s <= now_s]
        found.append(queue_of(known, begins_s, now_s).state)
        return found[-1]

    def wait_until(at_s: float) -> None:
        clock[0] = at_s

    extend_stages(plan, 100, lead_s=0.5, wait_until=wait_until, queue_state=look, extend=lambda *_: None)
    assert found[-1] is state
