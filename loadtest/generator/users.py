"""Locust's side: sources of arrivals, the shape that ends them, and the way of samples to the master.

A Locust user is one of a fixed number of Poisson processes, not a person who waits for answers: the plan varies
their rate, Locust spreads them over its workers, and each request runs in a greenlet of its own.
"""

from __future__ import annotations

import itertools
import time
from typing import Any, ClassVar

import gevent
from locust import User, constant, task
from locust.env import Environment

from loadtest.generator.pulse import Pulse
from loadtest.measurement.samples import NO_ARM, UNSENT, Beat, Outcome, Sample
from loadtest.run_file import RunFile
from loadtest.target.exchange import Exchange, Reply
from loadtest.target.outcomes import Judge
from loadtest.traffic.arrivals import Arrival, Flights, arrivals, send_all
from loadtest.traffic.chance import Chance
from loadtest.traffic.corpus import load_corpus
from loadtest.traffic.mix import PATH, Message, Mix

REPORT = "cpfd"
"""The key of our part in the reports that Locust's workers send to their master."""
_OVERDUE_S = 1.0


class Session:
    """What the sources of one process share, and what they recorded.

    Args:
        run: the run.
        environment: Locust's, for its own statistics.
    """

    def __init__(self, run: RunFile, environment: Environment) -> None:
        self.run, self.plan = run, run.plan
        self._environment = environment
        self._chance = Chance(run.seed)
        self._corpus = load_corpus(run.corpus)
        self._mix = self._make_mix()
        self._exchange = Exchange(run.hosts, timeout_s=run.timeout_s)
        self._judge = Judge()
        self._flights = Flights(run.max_in_flight)
        self._samples: list[Sample] = []
        self._beats: list[Beat] = []
        self._began: float | None = None
        self._sources = 0

    def begin(self, worker: int | None = None) -> None:
        """The plan begins now.

        Args:
            worker: this process's place among the workers, which the master has given it by now: each draws messages
                and arrivals of its own.
        """
        self._chance = Chance(self.run.seed, worker)
        self._mix = self._make_mix()
        self._began = time.monotonic()
        gevent.spawn(self._take_pulse)

    def _make_mix(self) -> Mix:
        return Mix(self._corpus, self._chance.stream("mix"), self.run.weights, self.run.ids_by_arm)

    def now_s(self) -> float:
        """Seconds since the plan began; below 0 before."""
        return -1.0 if self._began is None else time.monotonic() - self._began

    @property
    def done(self) -> bool:
        """Whether the plan is over and every answer is here."""
        return self.now_s() >= self.plan.total_s and self._flights.now == 0

    @property
    def in_flight_due_s(self) -> list[float]:
        """When the requests without an answer were due."""
        return list(self._flights.due_s)

    def take(self) -> tuple[list[Sample], list[Beat]]:
        """What was recorded since the last call."""
        taken = self._samples, self._beats
        self._samples, self._beats = [], []
        return taken

    def emit(self) -> None:
        """One source: sends its share of the plan. One that begins late does not make up for what it missed."""
        self._sources += 1
        due = arrivals(
            self.plan,
            self._chance.stream("source", self._sources),
            sources=self.run.sources,
            ends_at=lambda stage: self.plan.ends_at(stage),
            wait_until=lambda at_s: gevent.sleep(max(0.0, at_s - self.now_s())),
        )
        began_s = self.now_s()
        send_all(
            itertools.dropwhile(lambda arrival: arrival.at_s < began_s - _OVERDUE_S, due),
            send=self._send,
            spawn=gevent.spawn,
            flights=self._flights,
            unsent=self._unsent,
            now_s=self.now_s,
            sleep=gevent.sleep,
        )

    def extend(self, stage: int, seconds: float) -> None:
        """A stage takes longer; it must not be over yet."""
        self.plan = self.plan.extended(stage, seconds)

    def _send(self, arrival: Arrival) -> None:
        message = self._mix.draw(self.plan.arm, self.plan.stages[arrival.stage].arm_share)
        late_s = max(0.0, self.now_s() - arrival.at_s)
        reply = self._exchange.send(message)
        self._record(arrival, message, reply, late_s)

    def _record(self, arrival: Arrival, message: Message, reply: Reply, late_s: float) -> None:
        latency_s = max(0.0, self.now_s() - arrival.at_s)
        outcome, code, arm = self._judge.judge(message, reply)
        self._samples.append(
            Sample(
                arrival.at_s,
                arrival.stage,
                message.kind,
                arm,
                outcome,
                code,
                reply.status,
                latency_s,
                late_s,
                reply.retries,
            )
        )
        self._environment.events.request.fire(
            request_type=message.kind.value,
            name=f"{PATH} {arm} {outcome.value}",
            response_time=1000 * latency_s,
            response_length=len(reply.body),
            exception=RuntimeError(code) if outcome is Outcome.FAILED else None,
            context={},
        )

    def _unsent(self, arrival: Arrival) -> None:
        late_s = max(0.0, self.now_s() - arrival.at_s)
        self._samples.append(
            Sample(arrival.at_s, arrival.stage, "unsent", NO_ARM, Outcome.FAILED, UNSENT, 0, late_s, late_s)
        )

    def _take_pulse(self) -> None:
        pulse = Pulse(self.now_s, gevent.sleep)
        while self.now_s() < self.plan.total_s:
            self._beats.append(pulse.beat(self.plan.stage_at, lambda: self._flights.now))


class Source(User):
    """A Locust user: one of the run's Poisson processes."""

    wait_time = constant(1)
    session: ClassVar[Session]

    @task
    def emit(self) -> None:
        """Sends its share until the plan is over, then idles until Locust ends it."""
        self.session.emit()
        gevent.sleep(3600)


def report_of(session: Session) -> dict[str, Any]:
    """What a process says of itself. ``done`` first: then nothing is missing from the samples."""
    told = {"done": session.done, "at_s": session.now_s(), "in_flight": session.in_flight_due_s}
    samples, beats = session.take()
    return told | {"samples": [s.row() for s in samples], "beats": [b.row() for b in beats]}
