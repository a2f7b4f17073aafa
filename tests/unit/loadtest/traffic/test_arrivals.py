"""Open loop: nothing waits for an answer, and a stall shows in the percentiles."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable

import pytest

from loadtest.measurement.samples import percentile
from loadtest.shapes import Plan, Stage
from loadtest.traffic.arrivals import Arrival, Flights, arrivals, send_all


def plan(*stages: tuple[float, float]) -> Plan:
    return Plan("steps", tuple(Stage(seconds, per_s, 1.0) for seconds, per_s in stages))


def test_sources_add_up_to_the_planned_rates() -> None:
    rng = random.Random(1)
    due = [a for _ in range(10) for a in arrivals(plan((100, 10), (100, 40)), rng, sources=10)]
    first, second = (sum(a.stage == stage for a in due) for stage in (0, 1))
    assert 1000 - 4 * 1000**0.5 < first < 1000 + 4 * 1000**0.5
    assert 4000 - 4 * 4000**0.5 < second < 4000 + 4 * 4000**0.5
    assert all((a.at_s >= 100) == (a.stage == 1) for a in due)
    assert max(a.at_s for a in due) < 200


def test_a_stage_that_is_extended_goes_on_at_its_rate() -> None:
    """Time is simulated. The first stage is extended twice, each time shortly before its end; nothing is sent late."""
    now, planned = [0.0], [plan((10, 20), (10, 40))]
    longer_at = {9.5: 10.0, 19.5: 15.0}
    begun: list[tuple[Arrival, float]] = []

    def sleep(seconds: float) -> None:
        now[0] += seconds
        for at_s in [at_s for at_s in longer_at if now[0] >= at_s]:
            planned[0] = planned[0].extended(0, longer_at.pop(at_s))

    due = arrivals(
        planned[0],
        random.Random(5),
        ends_at=lambda stage: planned[0].ends_at(stage),
        wait_until=lambda at_s: sleep(max(0.0, at_s - now[0])),
    )
    send_all(
        due,
        send=lambda _: None,
        spawn=lambda _, arrival: begun.append((arrival, now[0])),
        flights=Flights(10_000),
        unsent=pytest.fail,
        now_s=lambda: now[0],
        sleep=sleep,
    )
    first, second = ([arrival.at_s for arrival, _ in begun if arrival.stage == stage] for stage in (0, 1))
    assert 700 - 4 * 700**0.5 < len(first) < 700 + 4 * 700**0.5
    assert 400 - 4 * 400**0.5 < len(second) < 400 + 4 * 400**0.5
    assert (max(first) < 35, min(second) >= 35, max(second) < 45) == (True, True, True)
    assert max(later - earlier for earlier, later in itertools.pairwise(first)) < 1.0
    assert all(started == pytest.approx(arrival.at_s) for arrival, started in begun)


def test_waiting_for_the_end_of_a_stage_that_is_not_extended_changes_nothing() -> None:
    planned = plan((10, 20), (10, 40))
    waited = arrivals(planned, random.Random(5), ends_at=planned.ends_at)
    assert list(waited) == list(arrivals(planned, random.Random(5)))


def test_gaps_are_those_of_a_poisson_process() -> None:
    due = [a.at_s for a in arrivals(plan((1000, 5)), random.Random(2))]
    gaps = [after - before for before, after in itertools.pairwise(due)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(0.2, rel=0.1)
    assert variance**0.5 == pytest.approx(mean, rel=0.1)


def test_a_slow_answer_delays_no_later_arrival() -> None:
    """Time is simulated: a task that is never run to its end holds nobody up."""
    now = [0.0]
    begun: list[tuple[float, float]] = []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def spawn(_: Callable[[Arrival], None], arrival: Arrival) -> None:
        begun.append((arrival.at_s, now[0]))

    due = list(arrivals(plan((60, 5)), random.Random(3)))
    send_all(
        iter(due),
        send=lambda _: None,
        spawn=spawn,
        flights=Flights(10_000),
        unsent=lambda _: None,
        now_s=lambda: now[0],
        sleep=sleep,
    )
    assert len(begun) == len(due)
    assert all(started == pytest.approx(at_s) for at_s, started in begun)


def test_beyond_the_bound_arrivals_are_counted_and_not_sent() -> None:
    flights, unsent, sent = Flights(2), list[Arrival](), list[Arrival]()
    send_all(
        iter([Arrival(0.0, 0)] * 5),
        send=lambda _: None,
        spawn=lambda _, arrival: sent.append(arrival),
        flights=flights,
        unsent=unsent.append,
        now_s=lambda: 1.0,
        sleep=lambda _: None,
    )
    assert (len(sent), len(unsent), flights.now) == (2, 3, 2)


def test_a_failed_send_gives_its_place_back() -> None:
    flights = Flights(1)

    def spawn(function: Callable[[Arrival], None], arrival: Arrival) -> None:
        with pytest.raises(OSError, match="broken"):
            function(arrival)

    def send(_: Arrival) -> None:
        raise OSError("broken")

    send_all(
        iter([Arrival(0.0, 0)] * 3),
        send=send,
        spawn=spawn,
        flights=flights,
        unsent=pytest.fail,
        now_s=lambda: 1.0,
        sleep=lambda _: None,
    )
    assert flights.now == 0


class StallingServer:
    """Answers one at a time and at once, but stands still for a while after a given time."""

    def __init__(self, stall_at_s: float, stall_s: float) -> None:
        self._lock, self._stall_at_s, self._stall_s = threading.Lock(), stall_at_s, stall_s
        self._began = time.monotonic()

    def now_s(self) -> float:
        return time.monotonic() - self._began

    def answer(self) -> None:
        with self._lock:
            if self.now_s() >= self._stall_at_s:
                self._stall_at_s = float("inf")
                time.sleep(self._stall_s)


def test_no_coordinated_omission() -> None:
    """The same stall of 1.2 of 2 s: invisible to a closed loop's p80, plain in the open loop's."""
    closed_server, closed = StallingServer(0.4, 1.2), list[float]()
    while closed_server.now_s() < 2.0:
        began = time.monotonic()
        closed_server.answer()
        closed.append(time.monotonic() - began)
        time.sleep(0.01)

    open_server, opened, threads = StallingServer(0.4, 1.2), list[float](), list[threading.Thread]()

    def send(arrival: Arrival) -> None:
        open_server.answer()
        opened.append(open_server.now_s() - arrival.at_s)

    def spawn(function: Callable[[Arrival], None], arrival: Arrival) -> None:
        threads.append(threading.Thread(target=function, args=(arrival,)))
        threads[-1].start()

    send_all(
        arrivals(plan((2.0, 60)), random.Random(4)),
        send=send,
        spawn=spawn,
        flights=Flights(1000),
        unsent=pytest.fail,
        now_s=open_server.now_s,
        sleep=time.sleep,
    )
    for thread in threads:
        thread.join()
    assert sum(latency > 1.0 for latency in closed) == 1
    assert percentile(closed, 0.8) < 0.3
    assert percentile(opened, 0.8) > 0.6
