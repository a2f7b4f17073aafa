"""Whether a queue is stationary: synthetic ones just under and just over their capacity, with fixed seeds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from loadtest.measurement.queue import BLOCKS, CONFINED, RISE, QueueState, mean_in_flight, queue_of
from tests.unit.loadtest.synthetic_queues import Service, deterministic, exponential, flights_of

PER_S = 58.0
QUEUES = [(deterministic, 1), (deterministic, 3), (exponential, 1), (exponential, 2)]


Kind = Callable[[float], Service]


def flights(load: float, seconds: float, seed: int, kind: Kind, servers: int) -> list[tuple[float, float]]:
    """Of ``PER_S`` arrivals a second at ``load`` times the capacity."""
    return flights_of(kind, servers, load, per_s=PER_S, seconds=seconds, seed=seed)


def states(load: float, seconds: float, kind: Kind, servers: int, runs: int = 40) -> dict[QueueState, float]:
    """How often each state is found, as a share."""
    found = [queue_of(flights(load, seconds, seed, kind, servers), 0, seconds).state for seed in range(runs)]
    return {state: found.count(state) / runs for state in QueueState}


@pytest.mark.parametrize(("kind", "servers"), QUEUES)
def test_a_short_stage_over_the_capacity_is_never_called_stationary(kind: Kind, servers: int) -> None:
    """6 s at 58 requests/s, as in the run whose capacity was too high: hardly ever decided, then by growth."""
    for load in (1.05, 1.14, 1.3):
        assert states(load, 6, kind, servers)[QueueState.STATIONARY] <= 0.05


@pytest.mark.parametrize(("kind", "servers"), QUEUES)
def test_a_long_stage_over_the_capacity_is_growing(kind: Kind, servers: int) -> None:
    found = states(1.14, 100, kind, servers, runs=10)
    assert found[QueueState.GROWING] >= 0.9
    assert found[QueueState.STATIONARY] == 0


@pytest.mark.parametrize(("kind", "servers"), QUEUES)
def test_a_stage_under_the_capacity_is_hardly_ever_called_growing(kind: Kind, servers: int) -> None:
    for load in (0.5, 0.9, 0.95):
        assert states(load, 6, kind, servers)[QueueState.GROWING] <= 0.05


@pytest.mark.parametrize(("kind", "servers"), QUEUES)
def test_a_stage_under_the_capacity_is_stationary_once_it_is_long_enough(kind: Kind, servers: int) -> None:
    assert states(0.5, 6, kind, servers)[QueueState.STATIONARY] >= 0.9
    assert states(0.85, 120, kind, servers, runs=10)[QueueState.STATIONARY] >= 0.8


def test_close_to_the_capacity_a_short_stage_decides_nothing() -> None:
    assert states(0.97, 6, exponential, 2)[QueueState.UNDECIDED] >= 0.9


def test_the_bounds_are_those_of_one_random_walk_in_a_hundred() -> None:
    """A walk with unit variance over the window, in blocks; of the rise, arrivals and answers each have one."""
    steps = np.random.default_rng(1).standard_normal((4000, BLOCKS, 20)) / (20 * BLOCKS) ** 0.5
    means = steps.reshape(4000, -1).cumsum(1).reshape(steps.shape).mean(2)
    earlier, later = np.triu_indices(BLOCKS, 1)
    rises = BLOCKS * np.median((means[:, later] - means[:, earlier]) / (later - earlier), axis=1)
    assert np.mean(np.ptp(means, axis=1) < CONFINED) == pytest.approx(0.01, abs=0.005)
    assert np.mean(rises > RISE / 2**0.5) == pytest.approx(0.01, abs=0.005)


def test_requests_without_an_answer_are_in_flight() -> None:
    """A service that stops answering: nothing but what is outstanding tells of it."""
    answered = flights(0.5, 10, 1, deterministic, 1)
    stuck = [(due_s, math.inf if due_s > 4 else done_s) for due_s, done_s in answered]
    assert queue_of(answered, 0, 10).state is QueueState.STATIONARY
    assert queue_of(stuck, 0, 10).state is QueueState.GROWING
    assert queue_of([flight for flight in stuck if flight[1] < math.inf], 0, 10).state is not QueueState.GROWING


def test_a_queue_that_empties_after_a_burst_is_not_growing() -> None:
    burst = [(-1.0, 0.02 * i) for i in range(300)]
    assert queue_of(burst + flights(0.5, 20, 2, deterministic, 1), 0, 20).state is QueueState.STATIONARY


def test_a_stall_at_the_end_is_not_taken_for_growth() -> None:
    """Three blocks of twenty: a limit on latency speaks of those, a trend does not."""
    stall = [(18.6, 25.0)] * 300
    assert queue_of(stall + flights(0.5, 20, 2, deterministic, 1), 0, 20).state is QueueState.UNDECIDED


def test_nothing_decides_nothing() -> None:
    assert queue_of([], 0, 6).state is QueueState.UNDECIDED
    assert queue_of([(1.0, 2.0)], 5, 5).state is QueueState.UNDECIDED


def test_mean_in_flight_by_hand() -> None:
    assert mean_in_flight([(0.0, 2.0), (1.0, math.inf)], [0, 1, 2, 4]).tolist() == [1.0, 2.0, 1.0]
    assert mean_in_flight([], [0, 1]).tolist() == [0.0]
