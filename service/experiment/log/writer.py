"""DecisionLog: records that are durable when ``append`` returns. NullLog: where none is kept."""

from __future__ import annotations

import asyncio
import logging
import queue
import socket
import time

from contract.decision_log import RECORDS, Record
from service.errors import LogUnavailable
from service.experiment.log.files import new_writer
from service.experiment.log.group import Entry, GroupCommit
from service.experiment.log.settings import LogSettings
from service.metrics import Metrics

log = logging.getLogger(__name__)
LOSS_REASONS = ("queue_full", "write_failed", "too_slow")
"""Why a record is lost: the label of ``cpfd_log_records_lost``."""
_RETRY_AFTER_S = 5


class NullLog:
    """Keeps nothing, and refuses nothing for that."""

    kept = False

    def start(self) -> None:
        """Nothing to do."""

    def faults(self) -> list[str]:
        """None."""
        return []

    async def append(self, *records: Record) -> None:
        """Forgets them."""

    async def stored(self, *records: Record) -> bool:
        """Forgets them, and says so."""
        return False

    def offer(self, *records: Record) -> None:
        """Forgets them."""

    async def close(self) -> None:
        """Nothing to do."""


class DecisionLog(NullLog):
    """Writes records to the settings' directory.

    Args:
        settings: with a directory.
        metrics: where it shows.
        host: of which machine or pod; None: this one's name.
    """

    kept = True

    def __init__(self, settings: LogSettings, metrics: Metrics, host: str | None = None) -> None:
        if settings.directory is None:
            raise ValueError("a decision log needs a directory")
        self._settings = settings
        self._metrics = metrics
        writer = new_writer(host or socket.gethostname())
        self._group = GroupCommit(settings.directory, writer, settings, metrics)
        self._started = False
        metrics.log_failing.set_function(lambda: float(self._group.failure is not None or self._stuck()))
        for record in RECORDS:  # at 0 from the start: increase() does not see a series' birth
            metrics.log_records.labels(record.table)
        for reason in LOSS_REASONS:
            metrics.log_records_lost.labels(reason)

    def start(self) -> None:
        """Opens the first file. Where that fails, ``faults`` says why, and it is tried again."""
        self._group.start()
        self._started = True

    def faults(self) -> list[str]:
        """Why the service must not take requests; empty if it may."""
        if self._settings.on_failure == "count":
            return []
        if self._group.failure is not None:
            return [f"the decision log cannot be written: {self._group.failure}"]
        if self._started and not self._group.alive():
            return ["the decision log's thread has ended"]
        if self._stuck():
            return [f"the decision log has not been written for over {self._settings.max_wait_seconds:g} s"]
        return []

    async def append(self, *records: Record) -> None:
        """Returns once the records are on the disk; where settings say so, also once they are counted as lost.

        Raises:
            LogUnavailable: they are not, and settings say that nothing may happen without them.
        """
        why = await self._write(records)
        if why is None:
            return
        if self._settings.on_failure == "refuse":
            raise LogUnavailable("the decision log cannot be written now: send it again", retry_after_s=_RETRY_AFTER_S)
        self._metrics.log_records_lost.labels(why).inc(len(records))

    async def stored(self, *records: Record) -> bool:
        """Whether the records are on the disk, whatever settings say of a failure."""
        return await self._write(records) is None

    def offer(self, *records: Record) -> None:
        """Hands the records over and does not wait; what is lost is counted."""
        try:
            self._group.waiting.put_nowait(Entry(records, None))
        except queue.Full:
            self._metrics.log_records_lost.labels("queue_full").inc(len(records))

    async def close(self) -> None:
        """Writes what waits."""
        if self._started:
            await asyncio.to_thread(self._group.close)

    async def _write(self, records: tuple[Record, ...]) -> str | None:
        """Why the records are not on the disk; None where they are."""
        if self._stuck():
            return "too_slow"
        if self._group.failure is not None:
            return "write_failed"
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        try:
            self._group.waiting.put_nowait(Entry(records, done))
        except queue.Full:
            return "queue_full"
        try:
            async with asyncio.timeout(self._settings.max_wait_seconds):
                return None if await done else "write_failed"
        except TimeoutError:
            log.error("the disk of the decision log takes over %g s", self._settings.max_wait_seconds)
            return "too_slow"

    def _stuck(self) -> bool:
        since = self._group.writing_since
        return since is not None and time.monotonic() - since > self._settings.max_wait_seconds
