"""Gathers what the sources recorded, extends stages by it, and ends the run when nothing is outstanding."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, ClassVar

import gevent
from locust import LoadTestShape

from loadtest.generator.extension import extend_stages
from loadtest.generator.users import REPORT, Session, report_of
from loadtest.measurement.queue import QueueState, queue_of
from loadtest.measurement.samples import Record, Sample
from loadtest.run_file import RunFile

_LEAD_S, _LEAD_TO_WORKERS_S = 0.2, 1.0


class Collector:
    """Gathers what each process recorded; lives in the master, or in the only process.

    Args:
        run: the run.
        session: of the only process; None in a master.
    """

    def __init__(self, run: RunFile, session: Session | None) -> None:
        self.run, self.plan = run, run.plan
        self._session = session
        self._began: float | None = None
        self._latest: dict[str, dict[str, Any]] = {}
        self._samples: list[list[Any]] = []
        self._beats: list[list[Any]] = []
        self._flights: list[tuple[float, float]] = []
        self._extended_s: dict[int, float] = {}

    def begin(self, announce: Callable[[int, float], object]) -> None:
        """The plan begins now.

        Args:
            announce: tells every process that a stage takes so many seconds longer.
        """
        self._began = time.monotonic()

        def extend(stage: int, seconds: float) -> None:
            self.plan = self.plan.extended(stage, seconds)
            self._extended_s[stage] = self._extended_s.get(stage, 0.0) + seconds
            announce(stage, seconds)

        gevent.spawn(
            extend_stages,
            self.plan,
            self.run.extend_s,
            lead_s=_LEAD_TO_WORKERS_S if self._session is None else _LEAD_S,
            wait_until=lambda at_s: gevent.sleep(max(0.0, at_s - self._now_s())),
            queue_state=self._queue_state,
            extend=extend,
        )

    def _now_s(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began

    def _queue_state(self, begins_s: float, ends_s: float) -> QueueState:
        """Of the stage, up to when every process has told of itself."""
        self._ask_session()
        known_s = min((found["at_s"] for found in self._latest.values()), default=begins_s)
        flying = [(due_s, math.inf) for found in self._latest.values() for due_s in found["in_flight"]]
        return queue_of(self._flights + flying, begins_s, min(max(begins_s, known_s), ends_s)).state

    def _ask_session(self) -> None:
        if self._session is not None:
            self.on_report("here", {REPORT: report_of(self._session)})

    def on_report(self, client_id: str, data: dict[str, Any]) -> None:
        """A worker's report."""
        found = data.get(REPORT)
        if found:
            samples, beats = found.pop("samples"), found.pop("beats")
            self._latest[client_id] = found
            self._samples += samples
            self._beats += beats
            if self.run.extend_s:
                self._flights += [Sample.from_row(row).flight for row in samples]

    def all_done(self) -> bool:
        """Whether every process has said that nothing is outstanding."""
        if self._session is not None:
            return self._session.done
        return bool(self._latest) and all(found["done"] for found in self._latest.values())

    def write(self) -> None:
        """Writes the record."""
        self._ask_session()
        record = Record(
            processes=max(1, len(self._latest)),
            ended_s=min(self.plan.total_s, self._now_s()),
            samples=self._samples,
            beats=self._beats,
            extended_s=self._extended_s,
        )
        self.run.record.write_text(record.model_dump_json(), encoding="utf-8")


class Shape(LoadTestShape):
    """All sources at once, until every process has every answer, or the time for that is up."""

    collector: ClassVar[Collector]

    def tick(self) -> tuple[int, float] | None:
        """The number of sources; None: it is over."""
        run = self.collector.run
        over_s = self.get_run_time() - self.collector.plan.total_s
        if over_s > run.timeout_s + 5 or (over_s >= 0 and self.collector.all_done()):
            return None
        return (run.sources, float(run.sources))
