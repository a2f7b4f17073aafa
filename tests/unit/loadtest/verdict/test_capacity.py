"""The capacity: the limits hold, and the queue is stationary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loadtest.objectives import Objectives
from loadtest.shapes import Plan, Stage, make_plan
from loadtest.verdict.capacity import Capacity
from loadtest.verdict.judge import ExitCode
from loadtest.verdict.results import Results, make_results
from tests.unit.loadtest.made_records import make_record
from tests.unit.loadtest.synthetic_queues import deterministic, record_of

LIMITS = {"p50_ms": 1000, "p95_ms": 2500, "p99_ms": 5000, "error_rate": 0, "shed_rate": 0, "goodput_share": 0.95}
CAPACITY_PER_S = 51.0


def climb(*rates: float, seconds: float) -> Plan:
    return Plan("steps", tuple(Stage(seconds, per_s, per_s / CAPACITY_PER_S) for per_s in rates))


def judged(plan: Plan, **asked: Any) -> Results:
    """Of a service of one server and ``CAPACITY_PER_S``."""
    objectives = Objectives.model_validate({"limits": LIMITS, "judged": {"up_to_load": 0.6}} | asked)
    return make_results(plan, objectives, record_of(plan, deterministic(1 / CAPACITY_PER_S), seed=3), {})


def test_a_short_stage_over_the_capacity_does_not_count_although_every_limit_holds() -> None:
    """58 requests/s for 6 s on a service of 51: each answer comes in time, and the queue grows."""
    found = judged(climb(14.5, 29, 58, seconds=6))
    over = found.stages[-1].overall
    assert (over.failed, over.shed, over.goodput_share) == (0, 0, 1.0)
    assert over.p95_ms < LIMITS["p95_ms"]
    assert found.verdict.capacity == Capacity(29, (58,))
    assert "Not decided: at 58 requests/s" in found.verdict.capacity.sentence()


def test_a_longer_stage_shows_that_the_queue_grows() -> None:
    found = judged(climb(14.5, 29, 58, seconds=40), limits={"error_rate": 0})
    assert found.verdict.capacity == Capacity(29, (), 58)
    assert "At 58 requests/s they held only while the queue grew" in found.verdict.capacity.sentence()


def test_a_stage_under_the_capacity_counts() -> None:
    assert judged(climb(14.5, 29, 43, seconds=60)).verdict.capacity == Capacity(43)


def test_what_is_held_at_a_rate_is_held_below_it() -> None:
    """The first stage is too short to show anything; the second one shows it for both."""
    plan = Plan("steps", (Stage(0.1, 30, 0.6), Stage(60, 40, 0.8)))
    assert judged(plan, judged={}).verdict.capacity == Capacity(40)


def test_every_stage_of_a_rate_must_hold() -> None:
    """Calm, spike, calm: the second calm did not recover."""
    plan = make_plan("spike", per_s=30, seconds=30)
    objectives = Objectives.model_validate({"limits": {"p95_ms": 100}})
    slow = make_record(plan, lambda s: replace(s, latency_s=0.5) if s.stage == 2 else s)
    assert make_results(plan, objectives, make_record(plan), {}).verdict.capacity.per_s == 60
    assert make_results(plan, objectives, slow, {}).verdict.capacity.per_s == 0


@pytest.mark.parametrize(
    ("asked", "exit_code"), [(29, ExitCode.PASSED), (50, ExitCode.INCONCLUSIVE), (60, ExitCode.FAILED)]
)
def test_a_capacity_that_is_not_decided_is_no_failure(asked: float, exit_code: ExitCode) -> None:
    assert judged(climb(14.5, 29, 58, seconds=6), min_capacity_per_s=asked).verdict.exit_code is exit_code


def test_a_limit_that_is_missed_stays_a_failure() -> None:
    limits = LIMITS | {"p50_ms": 1}
    verdict = judged(climb(14.5, 29, 58, seconds=6), min_capacity_per_s=50, limits=limits).verdict
    assert verdict.exit_code is ExitCode.FAILED


def test_stages_are_judged_as_long_as_they_became() -> None:
    plan, longer = climb(29, 43, seconds=6), climb(29, 43, seconds=6).extended(1, 54)
    record = record_of(longer, deterministic(1 / CAPACITY_PER_S), seed=3)
    extended = record.model_copy(update={"extended_s": {1: 54.0}})
    results = make_results(plan, Objectives.model_validate({"limits": LIMITS}), extended, {})
    assert results.plan == longer
    assert results.verdict.capacity.per_s == 43
    assert results.verdict.exit_code is ExitCode.PASSED
