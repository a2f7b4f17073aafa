"""Stops: which arms get no weight, here and on every pod that reads the same file."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from service.errors import StartError
from service.experiment.stop_file import Stop, add_stops, read_stops
from service.logs import FIELDS
from service.metrics import Metrics

log = logging.getLogger(__name__)


class Stops:
    """Arms that a guardrail has stopped.

    Args:
        path: the stop file; None: there is none, and what is stopped here is stopped on this pod until it ends.
        poll_seconds: how often it is read.
        digests: arm -> digest of the bundle that it serves: a stop of another bundle is not one.
        arms: (experiment, arm) of all that there are.
        metrics: where it shows.

    Raises:
        StartError: the file is there and cannot be read, or could not be written.
    """

    def __init__(
        self,
        path: Path | None,
        poll_seconds: float,
        digests: Mapping[str, str],
        arms: list[tuple[str, str]],
        metrics: Metrics,
    ) -> None:
        self._path = path
        self._poll_s = poll_seconds
        self._digests = digests
        self._arms = arms
        self._metrics = metrics
        self._unwritten: dict[tuple[str, str, str], Stop] = {}
        self._poller: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self.on_resume: Callable[[str, str], None] = lambda experiment, arm: None
        self.entries: tuple[Stop, ...] = ()
        self.stopped: frozenset[tuple[str, str]] = frozenset()
        for experiment, arm in arms:
            metrics.arm_stopped.labels(experiment, arm).set(0)
        metrics.stop_file_errors.inc(0)
        if path is not None:
            self._take(_first_look(path))

    def start(self) -> None:
        """Begins to read the file."""
        if self._path is not None:
            self._poller = asyncio.create_task(self._poll(), name="stop-file")

    def stop(self, experiment: str, arm: str, guardrail: str, reason: str) -> None:
        """The arm gets no weight on this pod from now on, and on others once they have read the file."""
        if (experiment, arm) in self.stopped:
            return
        stop = Stop(
            experiment=experiment,
            arm=arm,
            bundle_digest=self._digests[arm],
            guardrail=guardrail,
            reason=reason,
            time_ms=time.time_ns() // 1_000_000,
            pod=socket.gethostname(),
        )
        self._unwritten[stop.key] = stop
        self._take(self.entries)
        self._woken.set()

    async def close(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    async def _poll(self) -> None:
        while True:
            await self.look()
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def look(self) -> None:
        """Writes what is not written yet, and takes over what stands in the file."""
        assert self._path is not None
        self._woken.clear()
        todo = list(self._unwritten.values())
        try:
            entries = await asyncio.to_thread(add_stops if todo else _read, self._path, todo)
        except (OSError, ValueError) as error:
            # What is known stays: a file that cannot be read starts no arm.
            self._metrics.stop_file_errors.inc()
            log.error("the stop file cannot be used", extra={FIELDS: {"cause": str(error)}})
            return
        for stop in todo:
            del self._unwritten[stop.key]
        self._take(entries)

    def _take(self, entries: tuple[Stop, ...]) -> None:
        self.entries = entries
        ours = [s for s in (*entries, *self._unwritten.values()) if (s.experiment, s.arm) in self._arms]
        before = self.stopped
        current = [stop for stop in ours if stop.bundle_digest == self._digests[stop.arm]]
        self.stopped = frozenset((stop.experiment, stop.arm) for stop in current)
        for stop in current:
            if (stop.experiment, stop.arm) not in before:
                fields = {"experiment": stop.experiment, "arm": stop.arm, "guardrail": stop.guardrail}
                log.error("arm stopped", extra={FIELDS: fields | {"cause": stop.reason, "pod": stop.pod}})
                self._metrics.arm_stopped.labels(stop.experiment, stop.arm).set(1)
        for experiment, arm in before - self.stopped:
            log.warning("arm runs again", extra={FIELDS: {"experiment": experiment, "arm": arm}})
            self._metrics.arm_stopped.labels(experiment, arm).set(0)
            self.on_resume(experiment, arm)

    def of(self, experiment: str) -> tuple[Stop, ...]:
        """The stops of an experiment that hold here."""
        found = {s.key: s for s in (*self._unwritten.values(), *self.entries) if s.experiment == experiment}
        return tuple(s for s in found.values() if self._digests.get(s.arm) == s.bundle_digest)


def _read(path: Path, _: list[Stop]) -> tuple[Stop, ...]:
    return read_stops(path)


def _first_look(path: Path) -> tuple[Stop, ...]:
    """Refuses at the start what would fail when an arm has to be stopped."""
    try:
        return add_stops(path, ())
    except (OSError, ValueError) as error:
        raise StartError(f"experiment.stop_file: {path}: {error}") from error
