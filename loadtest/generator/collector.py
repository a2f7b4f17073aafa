"""Gathers what the sources recorded, and ends the run when nothing is outstanding."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from locust import LoadTestShape

from loadtest.generator.users import Session, report_of
from loadtest.measurement.samples import Record
from loadtest.run_file import RunFile


class Collector:
    """Gathers what each process recorded; lives in the master, or in the only process."""

    def __init__(self, run: RunFile, session: Session | None) -> None:
        self.run = run
        self._session = session
        self._began: float | None = None
        self._done: dict[str, bool] = {}
        self._samples: list[list[Any]] = []
        self._beats: list[list[Any]] = []

    def begin(self) -> None:
        """The plan begins now."""
        self._began = time.monotonic()

    def on_report(self, client_id: str, data: dict[str, Any]) -> None:
        """A worker's report."""
        found = data.get("cpfd")
        if found:
            self._done[client_id] = found["done"]
            self._samples += found["samples"]
            self._beats += found["beats"]

    def all_done(self) -> bool:
        """Whether every process has said that nothing is outstanding."""
        if self._session is not None:
            return self._session.done
        return bool(self._done) and all(self._done.values())

    def write(self) -> None:
        """Writes the record."""
        if self._session is not None:
            self.on_report("here", {"cpfd": report_of(self._session)})
        ended_s = 0.0 if self._began is None else min(self.run.plan.total_s, time.monotonic() - self._began)
        record = Record(processes=max(1, len(self._done)), ended_s=ended_s, samples=self._samples, beats=self._beats)
        self.run.record.write_text(record.model_dump_json(), encoding="utf-8")


class Shape(LoadTestShape):
    """All sources at once, until every process has every answer, or the time for that is up."""

    collector: ClassVar[Collector]

    def tick(self) -> tuple[int, float] | None:
        """The number of sources; None: it is over."""
        run = self.collector.run
        over_s = self.get_run_time() - run.plan.total_s
        if over_s > run.timeout_s + 5 or (over_s >= 0 and self.collector.all_done()):
            return None
        return (run.sources, float(run.sources))
