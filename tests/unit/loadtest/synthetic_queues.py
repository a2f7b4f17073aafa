"""Queues without a service: Poisson arrivals, a few servers, first come first served.

``python -m tests.unit.loadtest.synthetic_queues`` prints how often each state is found (docs/loadtest.md), and what
Theil-Sen's own interval of the trend would say.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from loadtest.measurement.queue import BLOCKS, mean_in_flight, queue_of
from loadtest.measurement.samples import Beat, Outcome, Record, Sample
from loadtest.shapes import Plan, Stage
from loadtest.traffic.arrivals import Arrival, arrivals

Service = Callable[[random.Random], float]


def deterministic(mean_s: float) -> Service:
    """M/D/c."""
    return lambda _: mean_s


def exponential(mean_s: float) -> Service:
    """M/M/c."""
    return lambda rng: rng.expovariate(1 / mean_s)


def serve(
    due: Iterable[Arrival], service: Service, rng: random.Random, *, servers: int
) -> Iterator[tuple[Arrival, float]]:
    """Each arrival, and when it was answered."""
    free_s = [0.0] * servers
    for arrival in due:
        done_s = max(heapq.heappop(free_s), arrival.at_s) + service(rng)
        heapq.heappush(free_s, done_s)
        yield arrival, done_s


def record_of(plan: Plan, service: Service, *, servers: int = 1, seed: int = 0) -> Record:
    """What a run of ``plan`` would leave behind."""
    rng = random.Random(seed)
    answered = serve(arrivals(plan, rng), service, rng, servers=servers)
    samples = [
        Sample(due.at_s, due.stage, "form", "student", Outcome.ANSWERED, "ok", 200, done_s - due.at_s, 0.0).row()
        for due, done_s in answered
    ]
    beats = [Beat(0.5 * i, plan.stage_at(0.5 * i), 0.001, 0.1, 3).row() for i in range(int(2 * plan.total_s))]
    return Record(processes=1, ended_s=plan.total_s, samples=samples, beats=beats)


def flights_of(
    kind: Callable[[float], Service], servers: int, load: float, *, per_s: float, seconds: float, seed: int
) -> list[tuple[float, float]]:
    """When requests were due and done, at ``load`` times the capacity."""
    rng = random.Random(seed)
    due = arrivals(Plan("steps", (Stage(seconds, per_s, load),)), rng)
    return [(a.at_s, done_s) for a, done_s in serve(due, kind(servers * load / per_s), rng, servers=servers)]


def by_ranks(flights: list[tuple[float, float]], seconds: float, per_s: float) -> str:
    """What Theil-Sen's 98 % interval of the trend says, at a tolerance of 5 % of the arrivals."""
    from scipy.stats import theilslopes

    middles_s = np.linspace(seconds / 2, seconds, BLOCKS + 1)
    found = theilslopes(mean_in_flight(flights, middles_s), middles_s[:-1], 0.98)
    if found.low_slope > 0:
        return "growing"
    return "stationary" if found.high_slope < 0.05 * per_s else "undecided"


def main(runs: int = 100, per_s: float = 58.0) -> None:
    """Prints shares of stationary and growing queues, by load and by length of the stage."""
    for name, kind, servers in (("M/D/1", deterministic, 1), ("M/M/2", exponential, 2)):
        for load in (0.5, 0.8, 0.95, 1.05, 1.14):
            for seconds in (6.0, 24.0, 96.0):
                ours, ranks = Counter[str](), Counter[str]()
                for seed in range(runs):
                    flights = flights_of(kind, servers, load, per_s=per_s, seconds=seconds, seed=seed)
                    ours[queue_of(flights, 0, seconds).state] += 1
                    ranks[by_ranks(flights, seconds, per_s)] += 1
                shares = [f"{100 * c[s] / runs:3.0f}" for c in (ours, ranks) for s in ("stationary", "growing")]
                shown = "stationary {} growing {}; by ranks {} {}".format(*shares)
                sys.stdout.write(f"{name} at {load:.2f}, {seconds:2.0f} s: {shown}\n")


if __name__ == "__main__":
    main()
