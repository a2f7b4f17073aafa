"""The policy of the decode queue, for any queue: nobody who was told yes is made late, small goes before large."""

from __future__ import annotations

import contextlib
import heapq
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import DeadlineTooShort, Overloaded
from service.scheduling import policy
from service.scheduling.policy import PATIENCE, Key, Priority, order_key
from tests.unit.service.scheduling.door import Door

SECONDS = st.floats(0.01, 5.0)


@dataclass(frozen=True)
class Job:
    decode_s: float
    model_s: float
    latest: float
    arrived: float
    priority: Priority

    keeps_core: bool = False
    hurried: bool = False

    @property
    def key(self) -> Key:
        return order_key(self.priority, self.arrived, self.latest - self.whole_s, self.held_s)

    @property
    def held_s(self) -> float:
        return self.decode_s + (self.model_s if self.keeps_core else 0.0)

    @property
    def whole_s(self) -> float:
        return self.decode_s + self.model_s


JOBS = st.builds(
    Job,
    decode_s=SECONDS,
    model_s=st.floats(0, 0.1),
    latest=st.floats(0, 40),
    arrived=st.floats(-10, 0),
    priority=st.sampled_from(list(Priority)),
    keeps_core=st.booleans(),
)
QUEUES = st.lists(JOBS, max_size=25).map(lambda jobs: sorted(jobs, key=lambda job: job.key))
RUNNING = st.lists(st.tuples(SECONDS, st.booleans()), max_size=6)


def by_lists(running: list[float], queue: list[Job], parallel: int) -> list[float]:
    """When each job starts if workers take them in this order and no spare worker helps."""
    free = sorted(running) + [0.0] * (parallel - len(running))
    heapq.heapify(free)
    found = []
    for job in queue:
        start = heapq.heappop(free)
        found.append(start)
        heapq.heappush(free, start + job.held_s)
    return found


@given(QUEUES, st.lists(SECONDS, max_size=6), st.integers(0, 4))
def test_the_bound_on_a_wait_is_never_too_short(queue: list[Job], running: list[float], more: int) -> None:
    parallel = max(1, len(running) + more)
    bounds = policy.waits(sum(running), [job.held_s for job in queue], parallel)
    for exact, bound in zip(by_lists(running, queue, parallel), bounds, strict=True):
        assert exact <= bound + 1e-9


@given(QUEUES, RUNNING, st.integers(1, 6))
def test_a_foreseen_start_is_one_that_the_rules_allow(
    queue: list[Job], running: list[tuple[float, bool]], parallel: int
) -> None:
    running = running[: parallel + 1]
    found = policy.starts(running, queue, parallel)
    for index, start in enumerate(found):
        beside = [(left - start, bulk) for left, bulk in running if left > start]
        beside += [
            (begun + other.held_s - start, other.priority.bulk)
            for at, (other, begun) in enumerate(zip(queue, found, strict=True))
            if at != index and begun + other.held_s > start and (begun < start or (begun == start and at < index))
        ]
        assert len(beside) <= parallel
        assert start == 0 or any(
            abs(start - end) < 1e-9
            for end in [left for left, _ in running]
            + [begun + other.held_s for other, begun in zip(queue, found, strict=True)]
        )


@given(QUEUES, RUNNING, st.integers(1, 6))
def test_foreseen_and_bounded_agree_where_no_spare_worker_helps(
    queue: list[Job], running: list[tuple[float, bool]], parallel: int
) -> None:
    alike = [Job(5.0, job.model_s, job.latest, job.arrived, Priority.INTERACTIVE) for job in queue]
    left = [(seconds, False) for seconds, _ in running[:parallel]]
    expected = by_lists([seconds for seconds, _ in left], alike, parallel)
    assert policy.starts(left, alike, parallel) == pytest.approx(expected)


@given(QUEUES, JOBS, RUNNING, st.integers(1, 4), st.floats(1.0, 2.0))
def test_whoever_is_let_in_makes_nobody_late_who_was_in_time(
    queue: list[Job], newcomer: Job, running: list[tuple[float, bool]], parallel: int, margin: float
) -> None:
    running = running[: parallel + 1]
    at = policy.position(queue, newcomer.key)
    placed = [*queue[:at], newcomer, *queue[at:]]
    assert placed == sorted(placed, key=lambda job: job.key)
    before, after = policy.starts(running, queue, parallel), policy.starts(running, placed, parallel)
    del after[at]
    harmed = policy.harmed(queue, before, after, 0.0, margin)
    for index, (job, without, start) in enumerate(zip(queue, before, after, strict=True)):
        in_time = without + job.whole_s <= job.latest
        if in_time and index not in harmed:
            assert start + job.whole_s <= job.latest + 1e-6


@given(JOBS, JOBS)
def test_the_lower_priority_goes_last_and_small_overtakes_large_that_came_shortly_before(one: Job, other: Job) -> None:
    small, large = sorted((one, other), key=lambda job: job.held_s)
    if small.priority is not large.priority:
        assert (small.key < large.key) is (small.priority.rank < large.priority.rank)
        return
    unhurried = large.latest - large.whole_s >= large.arrived + PATIENCE * large.held_s
    if unhurried and small.arrived - large.arrived < PATIENCE * (large.held_s - small.held_s) - 1e-6:
        assert small.key < large.key


@given(JOBS, st.lists(SECONDS, max_size=9), st.integers(1, 8))
def test_a_small_clip_waits_for_a_running_one_no_longer_than_its_price(
    job: Job, running: list[float], parallel: int
) -> None:
    """Where one worker more is free, whoever may not start waits for about his own price at the most."""
    bulk = job.priority is not Priority.INTERACTIVE
    allowed = policy.may_start(job, [(left, False) for left in running], parallel)
    if len(running) < parallel:
        assert allowed
    elif len(running) == parallel and not bulk:
        assert allowed or 0.9 * min(running) <= job.held_s
    else:
        assert not allowed


@given(
    JOBS,
    st.lists(SECONDS, max_size=9),
    st.integers(1, 8),
    st.integers(0, 9),
    st.sampled_from([Priority.BULK, Priority.LAST]),
)
def test_bulk_leaves_a_worker_where_there_are_several(
    job: Job, running: list[float], parallel: int, bulk: int, priority: Priority
) -> None:
    bulk = min(bulk, len(running))
    beside = [(left, i < bulk) for i, left in enumerate(running)]
    allowed = policy.may_start(replace(job, priority=priority), beside, parallel)
    assert not (allowed and bulk >= max(1, parallel - 1))
    assert not (allowed and len(running) >= parallel)


def test_the_urgent_go_before_the_patient() -> None:
    patient = Job(1.0, 0.0, 30.0, 0.0, Priority.INTERACTIVE)
    urgent = Job(1.0, 0.0, 1.5, 0.1, Priority.INTERACTIVE)
    assert urgent.key < patient.key


TAKES = st.tuples(SECONDS, st.floats(0.1, 40), st.floats(0, 0.5), st.sampled_from(list(Priority)), st.booleans())


@settings(max_examples=300, deadline=None)
@given(
    st.lists(TAKES, max_size=12),
    st.floats(0, 5),
    st.floats(0.1, 20),
    st.floats(0, 0.5),
    st.sampled_from(list(Priority)),
    st.integers(1, 3),
    st.booleans(),
)
def test_nobody_is_turned_away_unseen_who_would_be_let_in_at_his_price(
    takes: list[tuple[float, float, float, Priority, bool]],
    decode_s: float,
    within_s: float,
    model_s: float,
    priority: Priority,
    workers: int,
    shares_cores: bool,
) -> None:
    door = Door(workers=workers, lanes=workers, max_s=8.0, shares_cores=shares_cores)
    for taken_s, left_s, lane_s, whose, runs in takes:
        with contextlib.suppress(Overloaded, DeadlineTooShort):
            door.take(
                door.work(taken_s, left_s, model_s=lane_s, bulk=whose is Priority.BULK, last=whose is Priority.LAST)
            )
        if runs:
            door.run(last=whose is Priority.LAST)
    bulk, last = priority is Priority.BULK, priority is Priority.LAST
    least, likely, own = (
        door.work(seconds, within_s, model_s=model_s, bulk=bulk, last=last) for seconds in (0.0, 1.0, decode_s)
    )
    try:
        door.backlog.turn_away(least, likely)
    except Overloaded:
        with pytest.raises((Overloaded, DeadlineTooShort)):
            door.take(own)
